"""map.parquet: read as it was written, and what documents are told apart by."""

import numpy as np
import pytest

from snakelm.evaluation.embeddings.map import by_frequency
from tests.snakelm.evaluation.embeddings.maps import make_map, scattered


def test_read_as_written(tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(7), loss=[None, *range(6)])
    np.testing.assert_array_equal(documents.positions, scattered(7))
    np.testing.assert_array_equal(documents.numbers("loss"), [np.nan, 0, 1, 2, 3, 4, 5])
    assert [c.column for c in documents.colourings()] == ["loss", "tokens"]
    assert documents.texts("excerpt")[6] == "document 6"


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
    assert documents.origins() == told_apart


def test_the_most_frequent_name_is_first():
    assert by_frequency(["b", "a", "c", "c", "a"]) == ["a", "c", "b"]
