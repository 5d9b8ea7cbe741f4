"""The counted start, refined: full-batch gradient steps on the whole table of counted pairs.

What bigram_init.py sets by a factorisation is close to the table in squares of log-ratios; what
counts is cross-entropy. With the residual outputs still at zero that is a function of embedding and
head alone, and its gradient over all of the text is that of one table: V rows instead of as many
positions as there are tokens. Twenty such steps cost what a few dozen steps on text do and leave
the model where it would be after hundreds (docs/EXPERIMENTS.md): worth it for short runs.

The target of first token i is q_ij = (c_ij + b u_j) / (n_i + b), and a row counts by its share of
the text, w_i = n_i / N. With P the model's table of probabilities, the gradient of the logits is
W (P - Q). The smoothing's part of Q has rank one and is multiplied as that, so that only the
counted pairs are written into P.

Legend: V vocabulary, C width, R first tokens at a time, K counted pairs among them.
"""

import numpy as np
import torch

from ..data.bins import TokenBin
from ..model import Decoder
from .pair_counts import count_pairs

__all__ = ["Counts", "gradients", "refine_bigrams"]

COUNTED_TOKENS = 16_000_000
ROWS = 1024  # of the table at a time: 32 MB of float32 logits at 8192 tokens
SMOOTHING = 2.0  # b: extra counts for each first token
# Adam's peak rates, which fall linearly to 0, and decays. The head's numbers are a tenth as large.
EMBEDDING_RATE, HEAD_RATE, BETAS = 0.06, 0.006, (0.8, 0.95)


@torch.no_grad()
def refine_bigrams(model: Decoder, tokens: TokenBin, steps: int, dtype: torch.dtype) -> None:
    """``steps`` steps of Adam on embedding and head, of a model whose layers add nothing yet;
    ``dtype``: of the products. A third of a second each at 8192 tokens.
    """
    table = Counts(tokens, model.vocab_size)
    parameters = [model.embedding, model.head]
    rates = (EMBEDDING_RATE, HEAD_RATE)
    adam = torch.optim.Adam(
        [{"params": [p], "lr": lr} for p, lr in zip(parameters, rates, strict=True)],
        betas=BETAS,
        eps=1e-12,
        fused=True,
    )

    for step in range(steps):
        for group, rate in zip(adam.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - step / steps)
        for p, grad in zip(parameters, gradients(model, table, dtype), strict=True):
            p.grad = grad
        adam.step()
    for p in parameters:
        p.grad = None


class Counts:
    """Counted pairs by their first token, and what the formula above has of them."""

    def __init__(self, tokens: TokenBin, vocab: int) -> None:
        pairs = count_pairs(tokens, vocab, COUNTED_TOKENS)
        first_V, next_V = pairs.of_first(), pairs.of_next()
        total = first_V.sum().clamp(min=1.0)
        self.weight_V = first_V / total
        self.unigram_V = (next_V + 1.0) / (next_V + 1.0).sum()
        self.smoothed_V = SMOOTHING / (first_V + SMOOTHING)  # the smoothing's share of a row

        self.row_K, self.column_K = pairs.first_K, pairs.next_K
        self.share_K = pairs.count_K / (first_V + SMOOTHING)[self.row_K]
        self.bounds = np.searchsorted(self.row_K.numpy(), np.arange(0, vocab + ROWS, ROWS))

    def subtract(self, first: int, probability_RV: torch.Tensor) -> None:
        """Takes the counted part of Q's rows from ``first`` on from the probabilities, in place."""
        own = slice(*self.bounds[first // ROWS : first // ROWS + 2])
        place_K = (self.row_K[own] - first, self.column_K[own])
        share_K = self.share_K[own].to(probability_RV.dtype)
        probability_RV.index_put_(place_K, -share_K, accumulate=True)


def gradients(
    model: Decoder, table: Counts, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the table's cross-entropy in nats, by embedding and head [V, C], float32."""
    scale_V1 = torch.rsqrt(
        model.embedding.square().mean(dim=1, keepdim=True) + model.shape.norm_eps
    )
    x_VC = model.embedding * scale_V1
    weighted_VC = x_VC * table.weight_V[:, None]
    head_VC, rounded_VC, weighted_rounded_VC = (
        t.to(dtype) for t in (model.head, x_VC, weighted_VC)
    )

    of_x_VC, of_head_VC = torch.empty_like(x_VC), torch.zeros_like(model.head)
    for first in range(0, model.vocab_size, ROWS):
        rows = slice(first, first + ROWS)
        error_RV = (rounded_VC[rows] @ head_VC.t()).softmax(dim=1)
        table.subtract(first, error_RV)
        of_x_VC[rows] = error_RV @ head_VC
        of_head_VC += error_RV.t() @ weighted_rounded_VC[rows]

    # The smoothing's part of Q: its share of each row, times the unigram.
    of_x_VC -= table.smoothed_V[:, None] * (table.unigram_V @ model.head)
    of_x_VC *= table.weight_V[:, None]
    of_head_VC -= table.unigram_V[:, None] * (table.smoothed_V @ weighted_VC)

    # Through the norm after the embedding.
    along_V1 = (of_x_VC * x_VC).mean(dim=1, keepdim=True)
    return (of_x_VC - x_VC * along_V1) * scale_V1, of_head_VC
