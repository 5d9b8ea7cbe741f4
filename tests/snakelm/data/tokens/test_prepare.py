"""What gathering shards costs; what it gives is tested with the bins and the workflow."""

import tracemalloc

import numpy as np

from snakelm.data.bins import BinWriter, Meta, open_bin
from snakelm.data.tokens.prepare import gather

DOCUMENTS = 400_000  # of one token
INDEX_BYTES = 16 * DOCUMENTS


def test_gathering_takes_less_memory_than_two_indexes(tmp_path):
    """Of ten gigabytes of text the index is some 50 MB, and all of it was copied four times."""
    meta = Meta("uint16", 300, 256, "ab" * 32, part=[0, 1])
    ids = np.arange(DOCUMENTS, dtype=np.uint64)
    with BinWriter(tmp_path / "train-0.bin", meta) as writer:
        writer.append(np.full(DOCUMENTS, 256), np.ones(DOCUMENTS, np.int64), ids, DOCUMENTS)

    tracemalloc.start()
    try:
        gather([tmp_path / "train-0.bin"], tmp_path / "train.bin", "ab" * 32, "")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * INDEX_BYTES

    made = open_bin(tmp_path / "train.bin")
    assert made.document_offsets.dtype == np.int64
    assert np.array_equal(made.document_offsets, np.arange(DOCUMENTS + 1))
    assert np.array_equal(made.document_ids, ids)
