"""A parquet file opens or is refused in one wording: with its name, the fault and the remedy."""

import gzip
import os
import pickle
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.errors import UserError
from snakelm.parquet import REMEDY_OURS, REMEDY_USERS, BadFile, open_parquet

ROWS = 300


def write(path, **options):
    texts = [f"text {random.Random(i).random()}" for i in range(ROWS)]
    table = pa.table({"text": texts, "id": range(ROWS)})
    options = {
        "row_group_size": 100,
        "use_dictionary": False,
        "write_page_checksum": True,
    } | options
    pq.write_table(table, path, **options)
    return path


def read(path, **options):
    with open_parquet(path, **options) as file:
        return [row for batch in file.batches() for row in batch.to_pylist()]


DAMAGE = {
    "no such file": (lambda p: p.unlink(), "no such file"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "a folder, expected a parquet file"),
    "empty": (lambda p: p.write_bytes(b""), "empty, 0 bytes"),
    "text": (lambda p: p.write_bytes(b"a,b\n" * 99), "damaged, or not a parquet file"),
    "cut": (lambda p: os.truncate(p, 2000), "damaged, or not a parquet file"),
    "no footer": (lambda p: os.truncate(p, p.stat().st_size - 9), "damaged, or not a parquet file"),
    "no column": (lambda p: pq.write_table(pa.table({"txt": ["a"]}), p), "did you mean txt"),
}


@pytest.mark.parametrize("remedy", [REMEDY_OURS, REMEDY_USERS], ids=["ours", "the user's"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_that_does_not_open_says_why_and_what_to_do(tmp_path, kind, remedy):
    path = write(tmp_path / "a.parquet")
    damage, why = DAMAGE[kind]
    damage(path)
    with pytest.raises(BadFile) as error:
        open_parquet(path, columns=["text"], remedy=remedy)
    assert str(error.value) == f"{path}: {error.value.why}"
    assert why in error.value.why
    assert remedy in error.value.why
    assert "\n" not in str(error.value)


FOREIGN = {
    "compressed by gzip; unpack it": gzip.compress(b"x"),
    "an HTML page, of an error": b"\n<!DOCTYPE html><html>",
    "JSON; name it .jsonl": b'{"text": "x"}\n',
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "a zip archive": b"PK\x03\x04xx",
}


@pytest.mark.parametrize("said", FOREIGN)
def test_another_kind_of_file_is_called_by_its_name(tmp_path, said):
    (tmp_path / "a.parquet").write_bytes(FOREIGN[said] * 9)
    with pytest.raises(BadFile, match=f"not a parquet file but .*{said}"):
        open_parquet(tmp_path / "a.parquet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_says_so(tmp_path):
    path = write(tmp_path / "a.parquet")
    path.chmod(0)
    with pytest.raises(BadFile, match="permission denied"):
        open_parquet(path)


def test_a_damaged_page_is_a_bad_file_after_the_rows_before_it(tmp_path):
    path = write(tmp_path / "a.parquet")
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(data)

    with open_parquet(path, remedy="run it again") as file:
        assert file.row_group(0).num_rows == 100
        with pytest.raises(BadFile, match=r"a\.parquet: row group 1 is damaged .*; run it again"):
            file.row_group(1)

        batches = file.batches()
        assert next(batches).num_rows == 100
        with pytest.raises(BadFile) as error:
            next(batches)
    assert error.value.rows_unread == 200


def test_flipped_bits_of_pages_are_never_silent(tmp_path):
    path = write(tmp_path / "a.parquet")
    good, rows = path.read_bytes(), read(path)
    footer = int.from_bytes(good[-8:-4], "little") + 8  # damage there can make Arrow abort
    chance = random.Random(0)
    refused = 0
    for at in chance.sample(range(4, len(good) - footer), 60):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :])
        try:
            assert read(path) == rows
        except BadFile:
            refused += 1
    assert refused > 50


def test_columns_rows_and_sizes_are_those_of_the_file(tmp_path):
    path = write(tmp_path / "a.parquet")
    with open_parquet(path, columns=["id"]) as file:
        assert file.schema.names == ["text", "id"]
        assert (file.num_rows, file.num_row_groups) == (ROWS, 3)
        assert file.row_group(2, ["id"]).column_names == ["id"]
        assert file.column_bytes(0, "text") > file.column_bytes(0, "id") > 0
        assert [row["id"] for batch in file.batches(["id"]) for row in batch.to_pylist()] == list(
            range(ROWS)
        )


def test_a_bad_file_travels_between_processes():
    error = pickle.loads(pickle.dumps(BadFile("cut off; fetch it again", "a.parquet", 7)))  # noqa: S301
    assert isinstance(error, UserError)
    assert str(error) == "a.parquet: cut off; fetch it again"
    assert (error.why, error.rows_unread) == ("cut off; fetch it again", 7)
    assert str(BadFile("row 3: no answer")) == "row 3: no answer"
