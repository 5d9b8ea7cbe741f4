"""A sentence model: texts to vectors, in bf16 where the processor multiplies it natively.

Texts are sorted by length before they are cut into batches (by sentence-transformers), so little is
padding. Products are in bf16 under autocast; sums, norms and the vectors that come out are float32.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..device import multiplies_bf16
from ..errors import UserError
from .base import check_sentence_model, offline

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

__all__ = ["SentenceModel", "fast_products", "load_body", "quiet"]

BATCH = 32
PIECES = 2048  # word pieces in a batch
CHARACTERS_PER_TOKEN = 12  # of a text, more than this for each token it may have isn't tokenised


def load_body(folder: str | Path, max_tokens: int) -> "SentenceTransformer":
    """The sentence-transformers model in ``folder``, on the CPU or the first GPU; nothing is
    fetched or unpickled.
    """
    check_sentence_model(Path(folder))
    offline()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from sentence_transformers import SentenceTransformer

    quiet()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        body = SentenceTransformer(str(folder), device=device, local_files_only=True)
    except Exception as error:  # the libraries raise anything for a folder that is damaged
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder}: no sentence model ({reason}); save it again") from None
    body.max_seq_length = min(max_tokens, body.max_seq_length or max_tokens)
    return body


def quiet() -> None:
    """Turns off the libraries' own log lines and progress bars: a step has its own."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    for name in ("setfit", "sentence_transformers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def fast_products(device: torch.device) -> Iterator[bool]:
    """bf16 autocast where it is faster than fp32 on ``device``; yields whether it is."""
    native = multiplies_bf16(device)
    with torch.autocast(device.type, torch.bfloat16) if native else contextlib.nullcontext():
        yield native


class SentenceModel:
    """`encode(texts)` → float32 [n, width], the rows in the order of the texts."""

    def __init__(self, body: "SentenceTransformer", max_tokens: int) -> None:
        self.body, self.max_tokens = body.eval(), max_tokens

    @classmethod
    def load(cls, folder: str | Path, max_tokens: int) -> "SentenceModel":
        """The model saved in ``folder``."""
        return cls(load_body(folder, max_tokens), max_tokens)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of ``texts``, of which only the first ``max_tokens`` tokens are read."""
        heads = [text[: self.max_tokens * CHARACTERS_PER_TOKEN] for text in texts]
        if not heads:
            return np.zeros((0, self.body.get_embedding_dimension() or 0), np.float32)
        with torch.inference_mode(), fast_products(self.body.device):
            vectors = self.body.encode(
                heads, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True
            )
        return np.asarray(vectors, np.float32)

    def piece_vectors(self) -> np.ndarray:
        """The vector of each word piece of the vocabulary by itself, in the order of ids: float32
        [vocabulary, width].
        """
        tokenizer, device = self.body.tokenizer, self.body.device
        start, *_, end = tokenizer("a")["input_ids"]

        vectors = []
        with torch.inference_mode(), fast_products(device):
            for first in range(0, len(tokenizer), PIECES):
                ids = torch.arange(first, min(len(tokenizer), first + PIECES))
                rows = [torch.full_like(ids, start), ids, torch.full_like(ids, end)]
                rows_N3 = torch.stack(rows, 1).to(device)
                output = self.body(
                    {"input_ids": rows_N3, "attention_mask": torch.ones_like(rows_N3)}
                )
                vectors.append(output["sentence_embedding"].float().cpu().numpy())
        return np.concatenate(vectors)

    def pieces_of_words(self) -> "Tokenizer":
        """A copy of the model's own tokenizer (of the tokenizers package)."""
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.body.tokenizer.backend_tokenizer.to_str())
