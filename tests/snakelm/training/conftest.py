"""Token files small enough to check by hand."""

from pathlib import Path

import numpy as np
import pytest

from snakelm.data.bins import BinWriter, Meta, open_bin

VOCAB, EOT = 50, 49


@pytest.fixture
def make_bin(tmp_path):
    """Writes a bin of documents of the given text lengths, each token's value telling its document and place."""

    def make(lengths, name="train"):
        generator = np.random.default_rng(0)
        path = Path(tmp_path, f"{name}.bin")
        with BinWriter(path, Meta("uint16", VOCAB, EOT, "ab" * 32)) as writer:
            for i, length in enumerate(lengths):
                text = generator.integers(0, EOT, length)
                writer.append(np.array([EOT, *text]), np.array([length + 1]), np.array([i], np.uint64), 2 * length)
        return open_bin(path)

    return make
