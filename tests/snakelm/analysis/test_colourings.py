"""What the map is coloured by: the columns that it has numbers for, and what tells documents
apart.
"""

import pytest

from snakelm.analysis.colourings import by_frequency, colourings, origins
from tests.snakelm.evaluation.embeddings.maps import make_map, scattered


def test_a_column_without_numbers_colours_nothing(tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(7), loss=[None, *range(6)])
    assert [c.column for c in colourings(documents)] == ["loss", "tokens"]


@pytest.mark.parametrize(
    ("sources", "files", "told_apart"),
    [
        (["a", "b", "a"], ["x", "y", "z"], ("source", ["a", "b", "a"])),
        (
            ["a", "a", "a"],
            ["numpy/a.py", "scipy/b/c.py", "numpy/d.py"],
            ("origin", ["numpy", "scipy", "numpy"]),
        ),
        (
            ["a", "a", "a"],
            ["/my/a.parquet", "/my/b.parquet", "/my/b.parquet"],
            ("origin", ["a.parquet", "b.parquet", "b.parquet"]),
        ),
        (["a", "a", "a"], ["my/a.parquet"] * 3, ("origin", ["a.parquet"] * 3)),
        (["a", "a", "a"], ["my", "my/a", "my/b/c"], ("origin", ["my"] * 3)),
        (["a", "a", "a"], [None, "", "x"], ("origin", ["", "", "x"])),
    ],
    ids=["sources", "packages", "files", "one file", "a file that is a folder", "unknown"],
)
def test_what_tells_documents_apart(sources, files, told_apart, tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(3), source=sources, origin_file=files)
    assert origins(documents) == told_apart


def test_the_most_frequent_name_is_first():
    assert by_frequency(["b", "a", "c", "c", "a"]) == ["a", "c", "b"]
