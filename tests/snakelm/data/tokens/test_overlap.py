"""The copied share against a search by strings."""

import numpy as np
import pytest

from snakelm.data.bins import BinWriter, Meta, open_bin
from snakelm.data.tokens import overlap
from snakelm.data.tokens.overlap import copied_share, read_shares, rolling_hashes
from snakelm.errors import UserError

EOT = 50


def bin_of(path, docs):
    with BinWriter(path, Meta("uint16", EOT + 1, EOT, "ab" * 32)) as writer:
        for doc in docs:
            writer.append(
                np.r_[EOT, doc].astype(np.int64),
                np.array([len(doc) + 1]),
                np.array([1], np.uint64),
                len(doc),
            )
    return open_bin(path)


def reference(val, train, span):
    stream = [EOT, *(t for doc in train for t in [*doc, EOT])]
    known = {tuple(stream[i : i + span]) for i in range(len(stream) - span + 1)}
    marks = []
    for doc in val:
        mark = [False] * len(doc)
        for i in range(len(doc) - span + 1):
            if tuple(doc[i : i + span]) in known:
                mark[i : i + span] = [True] * span
        marks.append(mark)
    return [sum(m) / max(1, len(m)) for m in marks], sum(map(sum, marks)) / max(
        1, sum(map(len, marks))
    )


@pytest.mark.parametrize("span", [2, 3, 5, 8, 13, 16])
@pytest.mark.parametrize("block", [1, 17, 1 << 16])
def test_the_share_is_that_of_a_search_by_strings(tmp_path, monkeypatch, span, block):
    monkeypatch.setattr(overlap, "BLOCK", block)
    random = np.random.default_rng(span)
    words = [random.integers(0, 4, random.integers(1, 30)).tolist() for _ in range(12)]
    docs = [
        [t for i in random.integers(0, 12, random.integers(0, 5)) for t in words[i]]
        for _ in range(40)
    ]
    val, train = docs[:10], docs[10:]
    shares, overall = copied_share(
        bin_of(tmp_path / "val.bin", val), bin_of(tmp_path / "train.bin", train), span
    )
    expected, expected_overall = reference(val, train, span)
    assert shares.dtype == np.float32
    assert shares.tolist() == pytest.approx(expected)
    assert overall == pytest.approx(expected_overall)


def test_spans_do_not_cross_documents(tmp_path):
    val = bin_of(tmp_path / "val.bin", [[1, 2], [3, 4], [1, 2, 3, 4]])
    train = bin_of(tmp_path / "train.bin", [[1, 2, 3], [3, 4]])
    assert copied_share(val, train, 4) == (pytest.approx([0, 0, 0]), 0)
    train = bin_of(tmp_path / "train.bin", [[0, 1, 2, 3, 4, 0]])
    assert copied_share(val, train, 4)[0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("span", range(2, 40))
def test_rolling_hashes_are_equal_exactly_for_equal_spans(span):
    random = np.random.default_rng(span)
    tokens = np.tile(random.integers(0, 3, 60), 3)
    table = random.integers(0, 2**64, 3, np.uint64)
    hashes = rolling_hashes(tokens, span, table)
    assert hashes.size == tokens.size - span + 1
    spans = [tuple(tokens[i : i + span]) for i in range(hashes.size)]
    assert (
        len(set(zip(spans, hashes.tolist(), strict=True)))
        == len(set(spans))
        == len(set(hashes.tolist()))
    )


def test_fewer_tokens_than_a_span():
    assert rolling_hashes(np.arange(3), 4, np.arange(4, dtype=np.uint64)).size == 0


def npy(head, body=b""):
    """An array file by its head, which may say anything."""
    text = f"{head}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000,)}"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", b"abc"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", b"\x80\x04N."),
        npy("{'descr': '<U4', 'fortran_order': False, 'shape': (2,)}", b"abcd" * 8),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", b"abcd" * 3),
        npy("{'descr': '<f4', 'fortran_order': False}"),
        npy("__import__('os')"),
        b"PK\x03\x04 cut",
        b"\x80\x04N.",
    ],
    ids=[
        "empty",
        "text",
        "huge",
        "cut",
        "objects",
        "texts",
        "other",
        "no_shape",
        "code",
        "zip",
        "pickle",
    ],
)
def test_shares_that_are_none_are_refused(tmp_path, content):
    val, path = bin_of(tmp_path / "val.bin", [[1, 2], [3]]), tmp_path / "val_overlap.npy"
    np.save(path, np.array([0, 0.5], np.float32))
    assert read_shares(path, val).tolist() == [0, 0.5]
    path.write_bytes(content)
    with pytest.raises(UserError, match="run prepare_data again"):
        read_shares(path, val)
