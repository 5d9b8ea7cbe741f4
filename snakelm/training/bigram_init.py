"""A start that knows which token follows which: embedding and head set from counts before the first
step.

With the residual outputs at zero, a fresh model's logits are head · norm(embedding[token]): a
function of the last token alone. The best such function is known without any gradient, it is the
table of log P(next | token) from counted pairs; so the two matrices start as its best approximation
of their rank, and training starts where it would otherwise be after a minute (docs/EXPERIMENTS.md).
Nothing of it shows in the exported model: it is an initialisation.

With counts c_ij of pairs, n_i of first tokens and unigram shares u_j, smoothed by b extra counts of
the unigram,

    log P(j|i) = log((c_ij + b u_j) / (n_i + b))
               = log u_j + log(1 + c_ij / (b u_j)) - log(1 + n_i / b).

The last two terms, near zero for pairs that meet by chance, are factored as L Rᵀ by a randomised
SVD (Halko, Martinsson & Tropp, 2011, algorithm 4.4), rows and columns weighted by the root of their
frequency. The last one makes no difference to a softmax and none that was measured to the fit; with
it the table is what it is called. The other is zero for pairs that never occurred: the table is a
sparse one less one of rank one, and is never written out (of 50,000 tokens, 10 GB).

A row of the embedding is [constant, s·L_i, random filling], of length √width, because the norm that
follows would undo any other length: the constant carries log u_j, and the filling is where tokens
differ that are alike in L. What `room` leaves empty has no weight in the head either.

Legend: V vocabulary, C width, r rank, f width of the filling, K pairs. All float32.
"""

from dataclasses import dataclass

import scipy.sparse
import torch

from ..config import Model
from ..data.bins import TokenBin
from ..model import Decoder
from .pair_counts import PairCounts, count_pairs

__all__ = ["applies", "start_as_bigrams"]

COUNTED_TOKENS = 4_000_000
SMOOTHING = 200.0  # b: extra counts for each first token
CONSTANT = 0.25  # share of a row's length in its constant
# Share of a row's length in s·L_i: of its 90% quantile, and the most.
SPREAD, MOST_SPREAD = 0.7, 0.84


def applies(model: Model) -> bool:
    """Whether a model of this shape can start so: an untied head, a norm after the embedding."""
    return not model.tie_embeddings and model.embedding_norm and model.width >= 32


@torch.no_grad()
def start_as_bigrams(
    model: Decoder, tokens: TokenBin, generator: torch.Generator, room: int = 0
) -> torch.Tensor:
    """Overwrites the embedding and the head, all but their last ``room`` columns, which become
    zero; takes a second or two. The tokens' shares of the text, float32 [V].
    """
    width, vocab = model.shape.width, model.vocab_size
    rank = min(width - room - 1 - width // 16, vocab // 2)

    # Factor the table, weighted by how often its rows and columns occur.
    pairs = count_pairs(tokens, vocab, COUNTED_TOKENS)
    table, share_V, frequency_V = _weighted_table(pairs)
    row_weight_V, column_weight_V = frequency_V.sqrt(), share_V.sqrt()
    left_Vr, right_Vr = _factors(table, rank, generator)
    left_Vr /= row_weight_V[:, None]
    right_Vr /= column_weight_V[:, None]

    # Scale L's rows to their share of the length; those that would be too long are cut. A token
    # that never occurs has a row of length zero.
    length = width**0.5
    lengths_V = left_Vr.norm(dim=1)
    usual = lengths_V[pairs.of_first() > 0].quantile(0.9).clamp(min=1e-6)
    scale = SPREAD * length / usual
    cut_V = (MOST_SPREAD * length / (scale * lengths_V + 1e-6)).clamp(max=1.0)
    left_Vr *= (scale * cut_V)[:, None]

    # Fill the rest of each row's length with noise.
    constant = CONSTANT * length
    filling_Vf = torch.randn(vocab, width - room - 1 - rank, generator=generator)
    rest_V = (length**2 - constant**2 - left_Vr.square().sum(dim=1)).clamp(min=0.01)
    filling_Vf *= (rest_V.sqrt() / filling_Vf.norm(dim=1))[:, None]

    # The head undoes the scale and gives the filling no weight.
    constant_V1 = torch.full((vocab, 1), constant)
    log_share_V1 = share_V.log()[:, None] / constant
    empty = torch.zeros(vocab, room)
    model.embedding.copy_(torch.cat([constant_V1, left_Vr, filling_Vf, empty], dim=1))
    model.head.copy_(
        torch.cat([log_share_V1, right_Vr / scale, torch.zeros_like(filling_Vf), empty], dim=1)
    )
    return frequency_V


@dataclass(frozen=True)
class _Table:
    """A sparse matrix less one of rank one: A - row columnᵀ, [V, V]."""

    sparse: scipy.sparse.csr_array
    row_V: torch.Tensor
    column_V: torch.Tensor

    def times(self, x_Vr: torch.Tensor) -> torch.Tensor:
        product_Vr = torch.from_numpy(self.sparse @ x_Vr.numpy())
        return product_Vr.addr_(self.row_V, self.column_V @ x_Vr, alpha=-1.0)

    def transposed_times(self, x_Vr: torch.Tensor) -> torch.Tensor:
        product_Vr = torch.from_numpy(self.sparse.T @ x_Vr.numpy())
        return product_Vr.addr_(self.column_V, self.row_V @ x_Vr, alpha=-1.0)


def _weighted_table(pairs: PairCounts) -> tuple[_Table, torch.Tensor, torch.Tensor]:
    """log P(j|i) / u_j [V, V], weighted, the unigram shares u [V], the shares of first tokens
    [V].
    """
    first_V, next_V = pairs.of_first(), pairs.of_next() + 1.0
    share_V, frequency_V = next_V / next_V.sum(), (first_V + 1.0) / (first_V + 1.0).sum()

    # The formula above, each row and column by the root of its share.
    i, j = pairs.first_K, pairs.next_K
    weight_V, next_weight_V = frequency_V.sqrt(), share_V.sqrt()
    value_K = (pairs.count_K / (SMOOTHING * share_V[j])).log1p() * weight_V[i] * next_weight_V[j]
    shape = (pairs.vocab_size, pairs.vocab_size)
    sparse = scipy.sparse.csr_array((value_K.numpy(), (i.numpy(), j.numpy())), shape=shape)
    table = _Table(sparse, (first_V / SMOOTHING).log1p() * weight_V, next_weight_V)
    return table, share_V, frequency_V


def _factors(
    table: _Table, rank: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """L and R [V, r] with L Rᵀ close to the table, the singular values shared between them."""
    # Two rounds of subspace iteration from random vectors, 16 more than needed for accuracy.
    basis = torch.randn(len(table.row_V), rank + 16, generator=generator)
    for _ in range(2):
        basis = torch.linalg.qr(table.times(basis)).Q
        basis = torch.linalg.qr(table.transposed_times(basis)).Q

    u, s, vh = torch.linalg.svd(table.times(basis), full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, (basis @ vh.T)[:, :rank] * root
