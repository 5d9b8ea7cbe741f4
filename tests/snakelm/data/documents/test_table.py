"""The documents file: row groups cut by text alone, complete or absent."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.data.documents.table import (
    RAW_SCHEMA,
    DocumentWriter,
    byte_views,
    read_documents,
    text_sizes,
)


def batch(first: int, count: int, size: int = 5000) -> pa.RecordBatch:
    rows = [
        {"text": f"{i:06d}" + "x" * (i * 7919 % size), "origin_file": "f", "origin_row": i}
        for i in range(first, first + count)
    ]
    return pa.RecordBatch.from_pylist(rows, RAW_SCHEMA)


def write(path, batches):
    with DocumentWriter(path, RAW_SCHEMA) as writer:
        for b in batches:
            writer.append(b)
    return path.read_bytes()


@pytest.mark.parametrize("piece", [1, 7, 999, 4000])
def test_the_bytes_do_not_depend_on_how_documents_arrive(tmp_path, piece):
    complete = write(tmp_path / "a.parquet", [batch(0, 4000)])
    cut = write(
        tmp_path / "b.parquet", [batch(i, min(piece, 4000 - i)) for i in range(0, 4000, piece)]
    )
    assert complete == cut


def test_row_groups_begin_at_a_megabyte_and_grow(tmp_path):
    write(tmp_path / "a.parquet", [batch(0, 20_000)])
    meta = pq.ParquetFile(tmp_path / "a.parquet").metadata
    sizes = [
        meta.row_group(i).column(0).total_uncompressed_size for i in range(meta.num_row_groups)
    ]
    assert all(abs(size - 2**20) < 60_000 for size in sizes[:15])
    assert sizes[-2] > 1.5 * 2**20
    rows = [
        r
        for b in read_documents(tmp_path / "a.parquet")
        for r in b.column("origin_row").to_pylist()
    ]
    assert rows == list(range(20_000))


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "a.parquet", (batch(0, 10 // (1 - i)) for i in range(2)))
    assert os.listdir(tmp_path) == []


def test_bytes_and_sizes_of_slices():
    texts = pa.array(["", "é", "abc", ""], pa.large_string()).slice(1, 3)
    assert text_sizes(texts).tolist() == [2, 3, 0]
    assert [bytes(v) for v in byte_views(texts)] == ["é".encode(), b"abc", b""]
    assert text_sizes(texts.slice(0, 0)).dtype == np.int64
