"""Packs: complete conversations, as few rows as can be, the mask to the bit, and nothing damaged
accepted.
"""

import itertools
import os
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakelm.data.bins import BinWriter, Meta, idx_path, open_bin
from snakelm.data.packs import IGNORED, PackWriter, best_fit, open_packs
from snakelm.errors import UserError

CONTEXT, EOT = 16, 99
LENGTHS = [16, 3, 5, 9, 2, 7, 4, 4, 11, 6, 13, 2, 8]


def conversations(lengths=LENGTHS, seed=0):
    """(tokens, mask) each: the first token is EOT and never learned, the second half is."""
    random_ = np.random.default_rng(seed)
    return [
        (np.r_[EOT, random_.integers(0, EOT, n - 1)], np.arange(n) >= max(1, n // 2))
        for n in map(int, lengths)
    ]


def write(path, made, context=CONTEXT, learn=True):
    order, bounds = best_fit(np.array([t.size for t, _ in made]), context)
    with PackWriter(path, Meta("uint16", 100, EOT, "ab" * 32), context, bounds) as writer:
        for i in order:
            tokens, mask = made[i]
            writer.append_masked(
                tokens, mask & learn, np.array([tokens.size]), np.array([i], np.uint64), tokens.size
            )
    return path


@pytest.fixture
def packs(tmp_path):
    return open_packs(write(tmp_path / "a.bin", conversations()), "ab" * 32)


def one_by_one(lengths, context):
    """Best-fit decreasing as textbooks have it: each conversation by itself into the fullest pack
    that takes it.
    """
    rooms = []
    for length in sorted(lengths, reverse=True):
        fits = [free for free in rooms if free >= length]
        free = min(fits) if fits else context
        if fits:
            rooms.remove(free)
        rooms.append(free - length)
    return sorted(rooms)


@given(st.lists(st.integers(1, 40), max_size=200), st.integers(40, 60))
def test_packing_is_best_fit_decreasing(lengths, context):
    order, bounds = best_fit(np.array(lengths, np.int64), context)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    used = [sum(lengths[i] for i in order[a:b]) for a, b in itertools.pairwise(bounds)]
    assert sorted(context - u for u in used) == one_by_one(lengths, context)


def test_conversations_come_back_complete_with_their_masks(packs):
    made = conversations()
    assert sorted(packs.bin.document_ids.tolist()) == list(range(len(made)))
    for place, i in enumerate(packs.bin.document_ids.tolist()):
        first, last = packs.document_offsets[place : place + 2]
        assert packs.tokens[first:last].tolist() == made[i][0].tolist()
        assert packs.mask[first:last].tolist() == made[i][1].tolist()
    assert packs.context == CONTEXT
    assert packs.efficiency == sum(LENGTHS) / (len(packs) * CONTEXT)


def test_rows_hold_each_conversation_alone(packs):
    tokens, targets, row_start = packs.rows(np.arange(len(packs)))
    assert (tokens.dtype, targets.dtype, row_start.dtype) == (np.int64, np.int64, np.int32)
    assert tokens.shape == targets.shape == row_start.shape == (len(packs), CONTEXT)
    for row in range(len(packs)):
        at = 0
        for place in range(packs.pack_offsets[row], packs.pack_offsets[row + 1]):
            text, mask = conversations()[int(packs.bin.document_ids[place])]
            span = slice(at, at + text.size)
            assert tokens[row, span].tolist() == text.tolist()
            assert set(row_start[row, span]) == {at}
            assert targets[row, span].tolist() == [*np.where(mask, text, IGNORED)[1:], IGNORED]
            at += text.size
        assert set(tokens[row, at:]) <= {EOT}
        assert set(targets[row, at:]) <= {IGNORED}
        assert row_start[row, at:].tolist() == list(range(at, CONTEXT))


def test_rows_are_picked_in_any_order(packs):
    complete = packs.rows(np.arange(len(packs)))
    picked = np.array([2, 0, 2])
    for some, every in zip(packs.rows(picked), complete, strict=True):
        assert np.array_equal(some, every[picked])


def test_the_targets_are_as_many_as_the_mask_says(packs):
    _, targets, _ = packs.rows(np.arange(len(packs)))
    assert (targets != IGNORED).sum() == packs.mask.sum() > 0


def test_a_file_without_anything_to_learn_is_refused(tmp_path):
    with pytest.raises(UserError, match="no token is to be predicted"):
        write(tmp_path / "a.bin", conversations(), learn=False)
    assert os.listdir(tmp_path) == []


def test_plain_and_packed_files_are_not_taken_for_each_other(tmp_path):
    packed = write(tmp_path / "packed.bin", conversations())
    with pytest.raises(UserError, match="version 2, this program reads 1"):
        open_bin(packed)
    with BinWriter(tmp_path / "plain.bin", Meta("uint16", 100, EOT, "ab" * 32)) as writer:
        writer.append(np.array([EOT, 1]), np.array([2]), np.array([0], np.uint64), 1)
    with pytest.raises(
        UserError, match="version 1, this program reads 2 here; run prepare_sft_data again"
    ):
        open_packs(tmp_path / "plain.bin")


def test_every_flipped_bit_and_every_cut_is_refused(tmp_path):
    path = write(tmp_path / "a.bin", conversations())
    random_ = random.Random(0)
    for file in (path, idx_path(path)):
        good = file.read_bytes()
        bits = range(8 * len(good))
        for bit in random_.sample(bits, min(400, len(bits))):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            file.write_bytes(bad)
            with pytest.raises(UserError):
                open_packs(path)
        for size in random_.sample(range(len(good)), min(100, len(good))):
            file.write_bytes(good[:size])
            with pytest.raises(UserError):
                open_packs(path)
        file.write_bytes(good)
    open_packs(path)


def _with_sound_checksum(path, change):
    """An idx whose checksum is right and whose content is wrong."""
    body = bytearray(idx_path(path).read_bytes()[:-4])
    change(body)
    idx_path(path).write_bytes(bytes(body) + struct.pack("<I", zlib.crc32(body)))


def test_packs_that_do_not_fit_their_conversations_are_refused(tmp_path):
    path = write(tmp_path / "a.bin", conversations())
    good, opened = idx_path(path).read_bytes(), open_packs(path)
    head = len(good) - 4 - opened.mask_bits.size - 8 * opened.pack_offsets.size - 16
    wrong = {
        "a pack holds more than 15 tokens": lambda b: struct.pack_into("<Q", b, head, CONTEXT - 1),
        "packs or mask don't fit": lambda b: struct.pack_into("<Q", b, head + 8, 1),
        "don't fit its": lambda b: struct.pack_into("<Q", b, head + 16, 1),
        "don't fit": lambda b: struct.pack_into("<Q", b, head + 16 + 8 * len(opened), 1),
        "fit its conversations": lambda b: b.append(0),
        "packs or mask": lambda b: struct.pack_into("<Q", b, head + 24, 2**63 + 1),
        "or mask don't": lambda b: struct.pack_into("<Q", b, head, 2**40),
        "mask don't fit its": lambda b: b.__setitem__(-opened.mask_bits.size, 1),
        "no token is to be": lambda b: b.__setitem__(
            slice(-opened.mask_bits.size, None), bytes(opened.mask_bits.size)
        ),
    }
    for message, change in wrong.items():
        idx_path(path).write_bytes(good)
        _with_sound_checksum(path, change)
        with pytest.raises(UserError, match=message):
            open_packs(path)


def test_an_index_with_any_wrong_byte_is_refused_or_harmless(tmp_path):
    """Its checksum made right each time: no other error, and nothing that can't be read after."""
    path = write(tmp_path / "a.bin", conversations())
    good, random_ = idx_path(path).read_bytes(), random.Random(0)
    for place in random_.sample(range(len(good) - 4), min(400, len(good) - 4)):
        idx_path(path).write_bytes(good)
        _with_sound_checksum(
            path, lambda b, place=place: b.__setitem__(place, random_.choice([0, 1, 127, 128, 255]))
        )
        try:
            opened = open_packs(path)
        except UserError:
            continue
        assert opened.rows(np.arange(len(opened)))[0].shape == (len(opened), opened.context)


def test_the_mask_may_be_written_in_any_pieces(tmp_path):
    made = conversations()
    complete = write(tmp_path / "a.bin", made)
    order, bounds = best_fit(np.array([t.size for t, _ in made]), CONTEXT)
    with PackWriter(
        tmp_path / "b.bin", Meta("uint16", 100, EOT, "ab" * 32), CONTEXT, bounds
    ) as writer:
        for part in (order[:1], order[1:6], order[6:]):
            tokens, masks = (np.concatenate([made[i][k] for i in part]) for k in (0, 1))
            lengths = np.array([made[i][0].size for i in part])
            writer.append_masked(tokens, masks, lengths, part.astype(np.uint64), int(lengths.sum()))
    assert idx_path(complete).read_bytes() == idx_path(tmp_path / "b.bin").read_bytes()
