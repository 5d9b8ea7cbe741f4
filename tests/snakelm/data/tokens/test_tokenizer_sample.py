"""Training text: evenly spread, within the budget, never a held-out document."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.data.split import document_ids, is_validation, validation_threshold
from snakelm.data.tokens import tokenizer_sample
from snakelm.data.tokens.tokenizer_sample import training_documents
from snakelm.errors import UserError

SEED, FRACTION = 7, 0.3


def write(path, texts, row_group_size=50):
    ids = document_ids([text.encode() for text in texts])
    pq.write_table(
        pa.table({"text": pa.array(texts, pa.large_string()), "id": ids}),
        path,
        row_group_size=row_group_size,
    )
    return path


def taken(path, budget, fraction=FRACTION, seed=SEED):
    parts = training_documents(path, budget, val_fraction=fraction, seed=seed)
    return [text for part in parts for text in part.to_pylist()]


@pytest.fixture
def texts():
    return [f"document {i} " + "x" * (i * 37 % 200) for i in range(1000)]


def test_all_but_the_held_out_within_a_large_budget(tmp_path, texts):
    path = write(tmp_path / "d.parquet", texts)
    ids = document_ids([text.encode() for text in texts])
    threshold = validation_threshold(ids, FRACTION, SEED)
    held_out = is_validation(ids, FRACTION, SEED, threshold)
    assert taken(path, 10**9) == [
        text for text, out in zip(texts, held_out, strict=True) if not out
    ]
    assert 200 < held_out.sum() < 400


def test_a_small_budget_is_kept_and_spread_over_all_row_groups(tmp_path, texts):
    path = write(tmp_path / "d.parquet", texts)
    found = taken(path, 20_000)
    assert 18_000 < sum(map(len, found)) <= 20_000
    groups = np.bincount([texts.index(text) // 50 for text in found], minlength=20)
    assert groups.min() > 0
    assert found == taken(path, 20_000)
    assert found != taken(path, 20_000, seed=SEED + 1)


def test_of_many_row_groups_evenly_spaced_ones_are_read(tmp_path, texts, monkeypatch):
    monkeypatch.setattr(tokenizer_sample, "READ_GROUPS", 4)
    path = write(tmp_path / "d.parquet", texts)
    groups = {texts.index(text) // 50 for text in taken(path, 2000)}
    assert groups == {0, 5, 10, 15}


def test_documents_that_leave_nothing_say_so(tmp_path):
    with pytest.raises(UserError, match=r"raise tokenizer\.train_mb"):
        taken(write(tmp_path / "long.parquet", ["x" * 5000, "y" * 5000]), 100)
    with pytest.raises(UserError, match="fewer than two different documents"):
        taken(write(tmp_path / "one.parquet", ["same", "same"]), 100)
    with pytest.raises(UserError, match="fewer than two different documents"):
        taken(write(tmp_path / "none.parquet", []), 100)


def test_a_damaged_row_group_is_found_by_its_checksum(tmp_path, texts):
    path = tmp_path / "d.parquet"
    table = pq.read_table(write(path, texts))
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"document 500 ", b"document 5OO "))
    with pytest.raises(UserError, match=r"row group 0 is damaged .* run deduplicate again"):
        taken(path, 10**9)


def test_files_that_are_not_documents_say_so(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        taken(tmp_path / "nowhere.parquet", 100)
    (tmp_path / "broken.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a parquet file"):
        taken(tmp_path / "broken.parquet", 100)
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "no-id.parquet")
    with pytest.raises(
        UserError, match=r"no column 'id'; columns are text; .*run deduplicate again"
    ):
        taken(tmp_path / "no-id.parquet", 100)
