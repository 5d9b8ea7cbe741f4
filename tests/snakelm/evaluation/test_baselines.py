"""The compressor's sizes are differences of entire files' sizes, and the baselines' arithmetic is
checked by hand.
"""

import json
import math
import random

import numpy as np
import pyppmd
import pytest

from snakelm.data.bins import BinWriter, Meta, token_dtype
from snakelm.errors import UserError
from snakelm.evaluation.baselines import (
    CUT_OFF,
    END,
    MEMORY_MIN,
    ORDER,
    baselines,
    coder_memory,
    ppmd_sizes,
    spread,
    unigram_bits,
    xz_size,
)
from snakelm.evaluation.records import read_baseline
from snakelm.files import write_json
from snakelm.tokenizer import train_bpe

HELD_BACK = 8  # bytes that a range coder may hold back at each end of a part
TEXT = "the array of values returns a new shape when given axis is none and dtype float"


def prose(seed: int, documents: int) -> list[bytes]:
    choose = random.Random(seed)
    return [
        " ".join(choose.choices(TEXT.split(), k=choose.randint(20, 60))).encode() + b"."
        for _ in range(documents)
    ]


def whole_file(documents: list[bytes]) -> int:
    """Size of one PPMd file with all of it."""
    coder = pyppmd.Ppmd8Encoder(ORDER, MEMORY_MIN, CUT_OFF)
    return len(coder.encode(b"".join(text + END for text in documents))) + len(coder.flush())


def test_a_parts_size_is_what_a_file_grows_by():
    train, clean, copied = prose(1, 200), prose(2, 40), prose(1, 40)
    sizes = ppmd_sizes(train, [clean, copied], MEMORY_MIN)
    grown = [
        whole_file(train + clean) - whole_file(train),
        whole_file(train + clean + copied) - whole_file(train + clean),
    ]
    for size, growth, part in zip(sizes, grown, (clean, copied), strict=True):
        ends = len(part)  # a file holds the documents' ends too; they cost less than a byte each
        assert growth - ends - HELD_BACK <= size <= growth + HELD_BACK
    assert sizes[1] < 0.5 * sizes[0], "what training has word for word is cheap"


def test_priming_helps_and_order_of_blocks_does_not_matter(monkeypatch):
    train, held = prose(1, 300), prose(2, 30)
    (primed,), (alone,) = ppmd_sizes(train, [held], MEMORY_MIN), ppmd_sizes([], [held], MEMORY_MIN)
    assert primed < alone
    monkeypatch.setattr("snakelm.evaluation.baselines.BLOCK", 100)
    assert ppmd_sizes(train, [held], MEMORY_MIN) == [primed]


def test_nothing_costs_nothing():
    assert ppmd_sizes([b"abc"], [[], []], MEMORY_MIN) == [0, 0]


def test_memory_goes_by_the_text_alone():
    sizes = [coder_memory(n) for n in (0, 10**6, 20 * 10**6, 10**12)]
    assert sizes == sorted(sizes)
    assert sizes[0] == MEMORY_MIN
    assert sizes[-1] < 2**32, "the coder's offsets have 32 bits"


def test_xz_is_a_real_file_size():
    import lzma

    documents = prose(3, 50)
    assert xz_size(documents) == len(
        lzma.compress(b"".join(documents), preset=9 | lzma.PRESET_EXTREME)
    )


def test_unigram_by_hand():
    bits = unigram_bits(np.array([3, 0, 1]))  # with one added to each: 4, 1, 2 of 7
    assert bits.tolist() == pytest.approx([math.log2(7 / 4), math.log2(7), math.log2(7 / 2)])
    assert (2.0**-bits).sum() == pytest.approx(1)


@pytest.mark.parametrize(("cap", "count"), [(1000, 100), (10**9, 100), (500, 50), (15, 1)])
def test_spread_takes_even_distances_within_the_cap(cap, count):
    taken = spread(np.full(100, 10), cap)
    assert taken.size == count
    assert taken[0] == 0
    assert len(set(np.diff(taken))) <= 1


def test_spread_never_goes_over_the_cap():
    sizes = np.random.default_rng(0).integers(0, 1000, 500)
    for cap in (1, 777, 20_000, 100_000):
        assert sizes[spread(sizes, cap)].sum() <= cap


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder as prepare_data leaves it, its tokenizer, and its texts: half of the held-out ones
    are copies.
    """
    folder = tmp_path_factory.mktemp("corpus")
    train, val = prose(1, 120), prose(2, 10) + prose(1, 10)
    tokenizer = train_bpe([text.decode() for text in train], 300)
    tokenizer.save(folder / "tokenizer")
    for name, texts in (("train", train), ("val", val)):
        ids = [
            np.array([tokenizer.eot, *tokenizer.encode_ordinary(text.decode())]) for text in texts
        ]
        size = tokenizer.vocab_size
        meta = Meta(token_dtype(size), size, tokenizer.eot, tokenizer.sha256)
        with BinWriter(folder / f"{name}.bin", meta) as writer:
            lengths = np.array([i.size for i in ids])
            writer.append(np.concatenate(ids), lengths, np.arange(len(ids)), sum(map(len, texts)))
    np.save(folder / "val_overlap.npy", np.array([0.0] * 10 + [1.0] * 10, np.float32))
    return folder, tokenizer, train, val


def test_baselines_against_a_direct_computation(corpus):
    folder, tokenizer, train, val = corpus
    record = baselines(folder, folder / "tokenizer", 1.0, 0.1)
    total, clean = sum(map(len, val)), sum(map(len, val[:10]))
    assert (record.bytes.total, record.bytes.clean) == (total, clean)
    assert (record.docs.total, record.docs.clean, record.docs.val) == (20, 10, 20)
    grown = whole_file(train + val[:10]) - whole_file(train)
    assert record.ppmd.bpb_clean * clean / 8 == pytest.approx(grown, abs=HELD_BACK + 10)
    assert record.ppmd.bpb < record.ppmd.bpb_clean, "copies cost nothing"
    assert record.xz.bpb == pytest.approx(8 * xz_size(val) / total, abs=1e-5)
    counts = {tokenizer.eot: len(train)}
    for text in train:
        for i in tokenizer.encode_ordinary(text.decode()):
            counts[i] = counts.get(i, 0) + 1
    total = sum(counts.values()) + tokenizer.vocab_size
    bits = [
        math.log2(total / (counts.get(i, 0) + 1))
        for t in val
        for i in tokenizer.encode_ordinary(t.decode())
    ]
    assert record.unigram.bpb == pytest.approx(sum(bits) / total, abs=1e-5)


def test_what_is_written_is_read(corpus, tmp_path):
    record = baselines(corpus[0], corpus[0] / "tokenizer", 1.0, 0.1)
    write_json(tmp_path / "baseline.json", record.as_json())
    assert read_baseline(tmp_path / "baseline.json") == record
    (tmp_path / "baseline.json").write_text('{"ppmd": {"bpb": "little"}}')
    with pytest.raises(UserError, match=r"ppmd\.bpb: .*; delete it and run baseline again"):
        read_baseline(tmp_path / "baseline.json")


def test_the_same_twice(corpus):
    folder = corpus[0]
    once, again = (
        json.dumps(baselines(folder, folder / "tokenizer", 1.0, 0.1).as_json()) for _ in range(2)
    )
    assert once == again


def test_the_cap_holds_for_priming_and_held_out_text(corpus):
    folder = corpus[0]
    record = baselines(folder, folder / "tokenizer", 0.002, 0.1)
    assert 0 < record.ppmd.primed_bytes <= 2000
    assert 0 < record.bytes.total <= 2000
    assert record.ppmd.training_bytes > 2000


def test_without_clean_documents_their_numbers_are_none(corpus, tmp_path):
    folder = corpus[0]
    for name in ("train.bin", "train.idx", "val.bin", "val.idx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    np.save(tmp_path / "val_overlap.npy", np.ones(20, np.float32))
    record = baselines(tmp_path, folder / "tokenizer", 1.0, 0.1)
    assert [rates.bpb_clean for rates in (record.ppmd, record.xz, record.unigram)] == [
        None,
        None,
        None,
    ]
    np.save(tmp_path / "val_overlap.npy", np.ones(3, np.float32))
    with pytest.raises(UserError, match="one share for each held-out document"):
        baselines(tmp_path, folder / "tokenizer", 1.0, 0.1)
