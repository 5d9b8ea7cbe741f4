"""A start that knows which token follows which: embedding and head set from counts before the first
step.

With the residual outputs at zero, a fresh model's logits are head · norm(embedding[token]): a
function of the last token alone. The best such function is known without any gradient, it is the
table of log P(next | token) from counted pairs; so the two matrices start as its best approximation
of their rank, and training starts where it would otherwise be after a minute (docs/EXPERIMENTS.md).
Nothing of it shows in the exported model: it is an initialisation.

With counts c_ij of pairs, n_i of first tokens and unigram shares u_j, smoothed by b extra counts of
the unigram,

    log P(j|i) = log((c_ij + b u_j) / (n_i + b)) = log u_j + log(1 + c_ij / (b u_j)) - log(1 + n_i / b).

The last two terms, near zero for pairs that meet by chance, are factored as L Rᵀ by a randomised
SVD (Halko, Martinsson & Tropp, 2011), rows and columns weighted by the root of their frequency. The
last one makes no difference to a softmax and none that was measured to the fit; with it the table
is what it is called.

A row of the embedding is [constant, s·L_i, random filling], of length √width, because the norm that
follows would undo any other length: the constant carries log u_j, and the filling leaves room in
which tokens differ.

Legend: V vocabulary, C width, r rank.
"""

import torch

from ..config import Model
from ..data.bins import TokenBin
from ..model import Decoder

__all__ = ["applies", "start_as_bigrams"]

MOST_VOCABULARY = 8192  # the table is dense: 268 MB of float32
COUNTED_TOKENS = 4_000_000
CHUNK_TOKENS = 65_536
SMOOTHING = 200.0  # b: extra counts for each first token
CONSTANT = 0.25  # share of a row's length in its constant
SPREAD, MOST_SPREAD = (
    0.7,
    0.84,
)  # share of a row's length in s·L_i: of its 90% quantile, and the most


def applies(model: Model, vocab_size: int) -> bool:
    """Whether this start is for the shape: an untied head, a norm after the embedding, a table that
    fits.
    """
    return (
        not model.tie_embeddings
        and model.embedding_norm
        and vocab_size <= MOST_VOCABULARY
        and model.width >= 32
    )


@torch.no_grad()
def start_as_bigrams(model: Decoder, tokens: TokenBin, generator: torch.Generator) -> None:
    """Overwrites the embedding and the head; takes a second or two."""
    width, vocab = model.shape.width, model.vocab_size
    rank = min(width - 1 - width // 16, vocab // 2)
    table_VV, share_V, frequency_V = _table(tokens, vocab)
    row_V = frequency_V.sqrt()
    column_V = share_V.sqrt()
    left_Vr, right_Vr = _factors(table_VV.mul_(row_V[:, None]).mul_(column_V), rank, generator)
    left_Vr /= row_V[:, None]
    right_Vr /= column_V[:, None]
    length = width**0.5
    lengths_V = left_Vr.norm(dim=1)
    scale = SPREAD * length / lengths_V.quantile(0.9).clamp(min=1e-6)
    left_Vr *= (scale * (MOST_SPREAD * length / (scale * lengths_V + 1e-6)).clamp(max=1.0))[:, None]
    constant = CONSTANT * length
    filling = torch.randn(vocab, width - 1 - rank, generator=generator)
    left_over_V = (length**2 - constant**2 - left_Vr.square().sum(dim=1)).clamp(min=0.01)
    filling *= (left_over_V.sqrt() / filling.norm(dim=1))[:, None]
    model.embedding.copy_(torch.cat([torch.full((vocab, 1), constant), left_Vr, filling], dim=1))
    log_share = share_V.log()[:, None] / constant
    model.head.copy_(torch.cat([log_share, right_Vr / scale, torch.zeros_like(filling)], dim=1))


def _table(tokens: TokenBin, vocab: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log P(j|i) / u_j [V, V], the unigram shares u [V], the shares of first tokens [V];
    float32.
    """
    counts_V2 = torch.zeros(vocab * vocab)
    total = int(tokens.meta.tokens)
    chunks = max(1, min(COUNTED_TOKENS, total) // CHUNK_TOKENS)
    for i in range(chunks):  # at even distances over the file
        first = i * total // chunks
        ids = torch.from_numpy(
            tokens.tokens[first : min(first + CHUNK_TOKENS, total)].astype("int64")
        )
        pairs = ids[:-1] * vocab + ids[1:]
        counts_V2.scatter_add_(0, pairs, torch.ones(pairs.numel()))
    table_VV = counts_V2.view(vocab, vocab)
    next_V, first_V = table_VV.sum(dim=0) + 1.0, table_VV.sum(dim=1)
    share_V = next_V / next_V.sum()
    table_VV.div_(SMOOTHING * share_V).log1p_().sub_((first_V / SMOOTHING).log1p()[:, None])
    return table_VV, share_V, (first_V + 1.0) / (first_V + 1.0).sum()


def _factors(
    table_VV: torch.Tensor, rank: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """L and R [V, r] with L Rᵀ close to the table, the singular values shared between them."""
    basis = torch.randn(table_VV.shape[1], rank + 16, generator=generator)  # 16 more: for accuracy
    for _ in range(2):
        basis = torch.linalg.qr(table_VV @ basis).Q
        basis = torch.linalg.qr(table_VV.T @ basis).Q
    u, s, vh = torch.linalg.svd(table_VV @ basis, full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, (basis @ vh.T)[:, :rank] * root
