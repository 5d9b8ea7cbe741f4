"""What a model makes of a document: our own model its loss and its hidden states, and, where the
config says so, the sentence model a vector.

Our model reads the first `context` tokens of a document, after an end-of-text token as in training.
The document's vector is the mean of the last layer's states over its own tokens; the end-of-text
token's state is the same for every document and is left out.

Legend of shape suffixes: as in snakelm/model/decoder.py (B rows, T positions, C width, V
vocabulary), and N the real positions of a batch, without padding.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F

from ...model import Decoder
from ...model.working_copies import working_copy
from ...tokenizer import Tokenizer
from .table import DocumentEncoder, Encodings, Progress

__all__ = ["LanguageModelEncoder", "SentenceEncoder", "by_model", "by_sentence_model"]

BATCH_TOKENS = 4096  # padding included
# Float32 logits in memory at a time. Larger blocks go back to the kernel after every batch, which
# then maps them again: half the time of a run (docs/EXPERIMENTS.md).
LOGIT_BYTES = 8 << 20
TEXTS_AT_ONCE = 1024  # that exist as Python strings


def by_model(model: "LanguageModelEncoder") -> DocumentEncoder:
    """Our model's vectors and losses."""
    return DocumentEncoder(model.width, model.encode)


def by_sentence_model(
    model: "LanguageModelEncoder", sentence: "SentenceEncoder"
) -> DocumentEncoder:
    """The sentence model's vectors beside our model's losses."""

    def encode(texts: pa.Array, progress: Progress) -> Encodings:
        return replace(model.encode(texts, progress), vectors=sentence.encode(texts))

    return DocumentEncoder(sentence.width, encode)


class LanguageModelEncoder:
    """Our model over documents; ``threads`` are the tokenizer's."""

    def __init__(self, model: Decoder, tokenizer: Tokenizer, threads: int) -> None:
        self.model, self.tokenizer, self.threads = model, tokenizer, threads
        self.width = model.shape.width
        self.token_bytes = np.asarray(tokenizer.token_lengths, np.int64)  # [V]

    @torch.inference_mode()
    def encode(self, texts: pa.Array, progress: Progress = lambda done: None) -> Encodings:
        """Encodes a large_string array without nulls."""
        ids, offsets = self.tokenizer.encode_batch(texts, threads=self.threads)
        encodings = Encodings.empty(np.diff(offsets).astype(np.int64), self.width)

        text_tokens = self.model.shape.context - 1  # the end-of-text token takes one position
        heads = [
            np.asarray(ids[start : min(end, start + text_tokens)], np.int64)
            for start, end in pairwise(offsets.tolist())
        ]

        done = 0
        for batch in self._batches(heads):
            self._encode_batch(encodings, batch, [heads[document] for document in batch])
            done += len(batch)
            progress(done)
        return encodings

    def _batches(self, heads: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Numbers of documents that go through the model together, int64 [B]: in the order of
        their length, so that there is little padding.
        """
        order = np.argsort([head.size for head in heads], kind="stable")
        rows_tokens = [heads[document].size + 1 for document in order]

        first = 0
        while first < order.size:
            last = first + 1
            while last < order.size and (last + 1 - first) * rows_tokens[last] <= BATCH_TOKENS:
                last += 1
            yield order[first:last]
            first = last

    def _encode_batch(
        self, encodings: Encodings, batch: np.ndarray, heads: Sequence[np.ndarray]
    ) -> None:
        """One forward pass over ``heads``, tokens of the documents numbered ``batch`` [B]; fills in
        ``encodings``.
        """
        # Padding is to the right, where causal attention keeps every real position from seeing it.
        sizes = np.array([head.size for head in heads])
        rows = np.full((len(heads), int(sizes.max()) + 1), self.tokenizer.eot, np.int64)
        for row, head in zip(rows, heads, strict=True):
            row[1 : head.size + 1] = head
        is_text = np.arange(1, rows.shape[1]) <= sizes[:, None]  # bool [B, T-1]

        device = self.model.embedding.device
        tokens_BT = torch.from_numpy(rows).to(device)
        is_text_BT = torch.from_numpy(is_text).to(device)
        hidden_BTC = self.model.hidden(tokens_BT)

        # Position t predicts token t+1; sums of many small numbers are taken in float64.
        nll_BT = torch.zeros(is_text_BT.shape, dtype=torch.float64, device=device)
        nll_BT[is_text_BT] = self._nll(hidden_BTC[:, :-1][is_text_BT], tokens_BT[:, 1:][is_text_BT])
        bits = nll_BT.sum(1).cpu().numpy() / math.log(2)
        text_bytes = (self.token_bytes[rows[:, 1:]] * is_text).sum(1)
        encodings.loss[batch] = np.where(text_bytes > 0, bits / np.maximum(text_bytes, 1), np.nan)

        sum_BC = (hidden_BTC[:, 1:].float() * is_text_BT[..., None]).sum(1)
        mean_BC = sum_BC / is_text_BT.sum(1).clamp(min=1)[:, None]
        encodings.vectors[batch] = mean_BC.cpu().numpy()

    def _nll(self, x_NC: torch.Tensor, target_N: torch.Tensor) -> torch.Tensor:
        """Negative log-likelihood of each target in nats: float64 [N]."""
        head_VC = working_copy(self.model.head_weight, x_NC.dtype)
        step = max(16, LOGIT_BYTES // (4 * self.model.vocab_size))

        losses = [torch.zeros(0, dtype=torch.float64, device=x_NC.device)]
        for x, target in zip(x_NC.split(step), target_N.split(step), strict=True):
            logits = F.linear(x, head_VC).float()
            losses.append(F.cross_entropy(logits, target, reduction="none").double())
        return torch.cat(losses)


class SentenceEncoder:
    """The sentence model: ``embed`` takes n texts and gives float32 [n, width], of which it reads
    at most ``characters`` each.
    """

    def __init__(self, embed: Callable[[Sequence[str]], np.ndarray], characters: int) -> None:
        self.embed, self.characters = embed, characters
        self.width = int(embed(["a"]).shape[1])

    def encode(self, texts: pa.Array) -> np.ndarray:
        """float32 [n, width] of a large_string array without nulls."""
        heads = pc.utf8_slice_codeunits(texts, 0, self.characters)
        vectors = [
            self.embed(heads.slice(first, TEXTS_AT_ONCE).to_pylist())
            for first in range(0, len(heads), TEXTS_AT_ONCE)
        ]
        return np.concatenate(vectors)
