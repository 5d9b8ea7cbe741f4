"""Sampling: which documents are taken, whatever the order of the files; what is left when nothing
is left.
"""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.config import Source
from snakelm.data.documents.sample import sample
from snakelm.data.documents.table import read_documents
from snakelm.data.reading.readers import expand
from snakelm.data.split import document_id
from snakelm.errors import UserError
from snakelm.log import Log


def files(folder, order: int = 0, copies: int = 1):
    texts = [f"document {i} of some" for i in range(1000)] * copies
    random.Random(order).shuffle(texts)
    folder.mkdir(exist_ok=True)
    for i in range(4):
        pq.write_table(pa.table({"text": texts[i::4]}), folder / f"{i}.parquet", row_group_size=60)
    return expand(f"{folder}/*.parquet")


def take(tmp_path, paths, **source):
    with Log("sample") as log:
        counts = sample(
            Source(name="s", path="given", **source),  # type: ignore[arg-type]
            paths,
            tmp_path / "out.parquet",
            seed=1,
            on_bad="error",
            log=log,
        )
    return [row for b in read_documents(tmp_path / "out.parquet") for row in b.to_pylist()], counts


def test_all_documents_in_order_with_ids(tmp_path):
    rows, counts = take(tmp_path, files(tmp_path / "in"))
    assert len(rows) == counts["counts"]["taken"] == 1000
    assert [(r["origin_file"], r["origin_row"]) for r in rows] == sorted(
        (r["origin_file"], r["origin_row"]) for r in rows
    )
    assert all(r["id"] == document_id(r["text"].encode()) and r["source"] == "s" for r in rows)


@pytest.mark.parametrize(
    "how", [{"fraction": 0.2}, {"limit": 37}, {"fraction": 0.5, "limit": 37}], ids=str
)
def test_the_choice_does_not_depend_on_the_order_of_files(tmp_path, how):
    chosen = [
        {r["text"] for r in take(tmp_path, files(tmp_path / f"in{i}", i), **how)[0]}
        for i in range(3)
    ]
    assert chosen[0] == chosen[1] == chosen[2]
    assert len(chosen[0]) == 37 if "limit" in how else 150 < len(chosen[0]) < 250


def test_a_smaller_share_is_part_of_a_larger_one(tmp_path):
    paths = files(tmp_path / "in")
    small, large = ({r["text"] for r in take(tmp_path, paths, fraction=f)[0]} for f in (0.1, 0.3))
    assert small < large


@pytest.mark.parametrize("limit", [1, 5, 999, 1000, 5000])
def test_the_limit_is_kept_exactly_with_copies_too(tmp_path, limit):
    rows, _ = take(tmp_path, files(tmp_path / "in", copies=2), limit=limit)
    assert len(rows) == min(limit, 2000)


def test_what_was_not_sampled_is_said(tmp_path, capsys):
    take(tmp_path, files(tmp_path / "in"), limit=37)
    assert "1,000 rows → 37 documents" in (said := " ".join(capsys.readouterr().err.split()))
    assert "(not sampled (fraction, limit) 963)" in said
    take(tmp_path, files(tmp_path / "in"))
    assert "(nothing left out)" in capsys.readouterr().err


def test_nothing_left_is_an_error_that_says_why(tmp_path):
    pq.write_table(
        pa.table({"text": pa.array([None, "", None], pa.string())}), tmp_path / "a.parquet"
    )
    with pytest.raises(
        UserError, match=r"source s: no documents left of 3 rows in 1 files \(null 2, empty 1\)"
    ):
        take(tmp_path, [tmp_path / "a.parquet"])
    assert not (tmp_path / "out.parquet").exists()
