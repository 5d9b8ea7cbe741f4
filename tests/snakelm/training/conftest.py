"""Token files small enough to check by hand."""

from pathlib import Path

import numpy as np
import pytest

from snakelm.data.bins import BinWriter, Meta, open_bin
from snakelm.data.conversations.chat_template import render_batch
from snakelm.data.packs import PackWriter, best_fit, open_packs
from snakelm.tokenizer import EOT as END_OF_TEXT
from snakelm.tokenizer import Tokenizer
from snakelm.tokenizer.special import CHAT

VOCAB, EOT = 50, 49


@pytest.fixture
def make_bin(tmp_path):
    """Writes a bin of documents of the given text lengths, each token's value telling its document
    and place.
    """

    def make(lengths, name="train"):
        generator = np.random.default_rng(0)
        path = Path(tmp_path, f"{name}.bin")
        with BinWriter(path, Meta("uint16", VOCAB, EOT, "ab" * 32)) as writer:
            for i, length in enumerate(lengths):
                text = generator.integers(0, EOT, length)
                writer.append(
                    np.array([EOT, *text]),
                    np.array([length + 1]),
                    np.array([i], np.uint64),
                    2 * length,
                )
        return open_bin(path)

    return make


@pytest.fixture(scope="session")
def bytes_and_chat():
    """A tokenizer of single bytes and the special tokens."""
    special = {name: 256 + i for i, name in enumerate((END_OF_TEXT, *CHAT))}
    return Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", special)


@pytest.fixture
def make_packs(tmp_path, bytes_and_chat):
    """Packs conversations into rows of ``context``, as prepare_sft_data does."""

    def make(conversations, context, name="packs"):
        ids, mask, starts = render_batch(conversations, bytes_and_chat)
        order, bounds = best_fit(np.diff(starts), context)
        meta = Meta("uint16", bytes_and_chat.vocab_size, bytes_and_chat.eot, bytes_and_chat.sha256)
        with PackWriter(tmp_path / f"{name}.bin", meta, context, bounds) as writer:
            for i in order:
                own = slice(starts[i], starts[i + 1])
                length = np.array([starts[i + 1] - starts[i]])
                writer.append_masked(ids[own], mask[own], length, np.array([i], np.uint64), 1)
        return open_packs(tmp_path / f"{name}.bin")

    return make
