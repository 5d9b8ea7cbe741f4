"""What reads a document: our own model, for its surprise and its states, and where asked for the
sentence model.

Our model reads the first `context` tokens, the end-of-text token among them, as in training. The
vector is the mean of the last states over the text's tokens; the end-of-text token's own state is
the same for every document and is left out. Documents are read in the order of their length, so
that little is padding, and causal attention keeps what is padded from being seen.

Legend: as in snakelm/model/decoder.py.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F

from ...model import Decoder
from ...tokenizer import Tokenizer
from .table import Read

__all__ = ["Reader", "SentenceEncoder"]

BATCH_TOKENS = 4096  # padding among them
LOGIT_BYTES = (
    8 << 20
)  # of float32 logits at a time: larger ones are mapped and unmapped by the kernel again and again
SLICE = 1024  # texts that exist as Python strings at a time


class Reader:
    """Our model over documents; ``threads`` are the tokenizer's."""

    def __init__(self, model: Decoder, tokenizer: Tokenizer, threads: int) -> None:
        self.model, self.tokenizer, self.threads = model, tokenizer, threads
        self.lengths = np.asarray(tokenizer.token_lengths, np.int64)

    @torch.inference_mode()
    def read(self, texts: pa.Array, tell: Callable[[int], None] = lambda done: None) -> Read:
        """Reads a large_string array without nulls; ``tell`` hears how many documents are done."""
        ids, offsets = self.tokenizer.encode_batch(texts, threads=self.threads)
        found = Read.blank(np.diff(offsets).astype(np.int64), self.model.shape.width)
        text_tokens = self.model.shape.context - 1  # the end-of-text token takes a place
        heads = [
            np.asarray(ids[a : min(b, a + text_tokens)], np.int64)
            for a, b in pairwise(offsets.tolist())
        ]
        done = 0
        for places in self._batches(heads):
            self._read(found, places, [heads[place] for place in places])
            done += len(places)
            tell(done)
        return found

    def _batches(self, heads: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Places of documents, alike in length, that are read together."""
        order = np.argsort([head.size for head in heads], kind="stable")
        first = 0
        while first < order.size:
            last = first + 1
            while (
                last < order.size
                and (last + 1 - first) * (heads[order[last]].size + 1) <= BATCH_TOKENS
            ):
                last += 1
            yield order[first:last]
            first = last

    def _read(self, found: Read, places: np.ndarray, heads: Sequence[np.ndarray]) -> None:
        """One forward pass; writes into ``found`` at ``places``."""
        sizes = np.array([head.size for head in heads])
        rows = np.full((len(heads), int(sizes.max()) + 1), self.tokenizer.eot, np.int64)
        for row, head in zip(rows, heads, strict=True):
            row[1 : head.size + 1] = head
        inside = np.arange(1, rows.shape[1]) <= sizes[:, None]  # [B, T-1]: the text's own tokens
        device = self.model.embedding.device
        tokens_BT, inside_BT = (
            torch.from_numpy(rows).to(device),
            torch.from_numpy(inside).to(device),
        )
        hidden_BTC = self.model.hidden(tokens_BT)
        nll_BT = torch.zeros(inside_BT.shape, dtype=torch.float64, device=device)
        nll_BT[inside_BT] = self._nll(hidden_BTC[:, :-1][inside_BT], tokens_BT[:, 1:][inside_BT])
        sum_BC = (hidden_BTC[:, 1:].float() * inside_BT[..., None]).sum(1)
        text_bytes = (self.lengths[rows[:, 1:]] * inside).sum(1)
        bits = nll_BT.sum(1).cpu().numpy() / math.log(2)
        found.loss[places] = np.where(text_bytes > 0, bits / np.maximum(text_bytes, 1), np.nan)
        found.vectors[places] = (sum_BC / inside_BT.sum(1).clamp(min=1)[:, None]).cpu().numpy()

    def _nll(self, x_NC: torch.Tensor, target_N: torch.Tensor) -> torch.Tensor:
        """What each target costs, float64 [N], in nats."""
        head_VC = self.model.head_weight.to(x_NC.dtype)
        step = max(16, LOGIT_BYTES // (4 * self.model.vocab_size))
        costs = [torch.zeros(0, dtype=torch.float64, device=x_NC.device)]
        for x, target in zip(x_NC.split(step), target_N.split(step), strict=True):
            costs.append(
                F.cross_entropy(F.linear(x, head_VC).float(), target, reduction="none").double()
            )
        return torch.cat(costs)


class SentenceEncoder:
    """The sentence model; ``encode``: list of str → float32 [n, width], of which it reads
    ``characters`` at most.
    """

    def __init__(self, encode: Callable[[Sequence[str]], np.ndarray], characters: int) -> None:
        self.encode, self.characters = encode, characters

    def __call__(self, texts: pa.Array) -> np.ndarray:
        """float32 [n, width] of a large_string array without nulls."""
        heads = pc.utf8_slice_codeunits(texts, 0, self.characters)
        return np.concatenate(
            [
                self.encode(heads.slice(first, SLICE).to_pylist())
                for first in range(0, len(heads), SLICE)
            ]
        )
