"""A sentence model: texts to vectors, in bf16 where the processor multiplies it natively.

Texts are sorted by length before they are cut into batches, so little is padding. Products are in bf16 under autocast;
sums, norms and the vectors that come out are float32.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..training.device import multiplies_bf16
from .base import check_sentence_model, offline

__all__ = ["SentenceModel", "fast_products", "load_body"]

BATCH = 64
CHARACTERS_PER_TOKEN = 12  # of a text, more than this for each token it may have is not even tokenised


def load_body(folder: str | Path, max_tokens: int) -> Any:
    """The sentence-transformers model in ``folder``, on the CPU or the first GPU; nothing is fetched or unpickled."""
    check_sentence_model(Path(folder))
    offline()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from sentence_transformers import SentenceTransformer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    body = SentenceTransformer(str(folder), device=device, local_files_only=True)
    body.max_seq_length = min(max_tokens, body.max_seq_length or max_tokens)
    return body


@contextmanager
def fast_products(device: torch.device) -> Iterator[bool]:
    """bf16 autocast where it is faster than fp32 on ``device``; yields whether it is."""
    native = multiplies_bf16(device)
    with torch.autocast(device.type, torch.bfloat16) if native else contextlib.nullcontext():
        yield native


class SentenceModel:
    """`encode(texts)` → float32 [n, width], the rows in the order of the texts."""

    def __init__(self, body: Any, max_tokens: int) -> None:
        self.body, self.max_tokens = body.eval(), max_tokens

    @classmethod
    def load(cls, folder: str | Path, max_tokens: int) -> "SentenceModel":
        """The model saved in ``folder``."""
        return cls(load_body(folder, max_tokens), max_tokens)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of ``texts``, of which only the first ``max_tokens`` tokens are read."""
        heads = [text[: self.max_tokens * CHARACTERS_PER_TOKEN] for text in texts]
        if not heads:
            return np.zeros((0, self.body.get_embedding_dimension()), np.float32)
        with torch.inference_mode(), fast_products(self.body.device):
            return np.asarray(
                self.body.encode(heads, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True), np.float32
            )
