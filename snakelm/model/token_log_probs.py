"""The log-probability of each target by itself, for losses that weigh whole answers
(snakelm/training/preference_losses.py): the fused cross-entropy gives their sum alone.

Logits of a chunk of targets at a time, made again on the way back, so that [N, V] never exists; the
gradient of the head is summed over chunks in at least float32. Positions without a target cost
nothing: of a preference pair that is the prompt, and padding.

Legend: N targets, C width, V vocabulary.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

__all__ = ["token_log_probs"]

LOGIT_BYTES = 32 << 20  # of a chunk's float32 logits


def token_log_probs(
    x_NC: torch.Tensor, head_VC: torch.Tensor, targets_N: torch.Tensor, ignore: int
) -> torch.Tensor:
    """Log-probabilities in nats, at least float32 [K], of the K targets that aren't ``ignore``, in
    their order.
    """
    places_K = (targets_N != ignore).nonzero()[:, 0]
    found: torch.Tensor = _LogProbs.apply(x_NC[places_K], head_VC, targets_N[places_K])
    return found


class _LogProbs(torch.autograd.Function):
    """(x [K, C], head [V, C], targets int64 [K]) → log-probabilities [K]."""

    @staticmethod
    def forward(
        ctx: Any, x_KC: torch.Tensor, head_VC: torch.Tensor, targets_K: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(x_KC, head_VC, targets_K)
        found_K = x_KC.new_empty(len(x_KC), dtype=_wide(x_KC))
        for chunk, terms, _ in _terms(x_KC, head_VC, targets_K):
            found_K[chunk] = terms.picked - terms.sums.log()
        return found_K

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """d log p / d logits = one-hot - softmax, times what the target counts for."""
        x_KC, head_VC, targets_K = ctx.saved_tensors
        of_x_KC = torch.empty_like(x_KC)
        of_head_VC = torch.zeros_like(head_VC, dtype=_wide(head_VC))
        for chunk, terms, rounded in _terms(x_KC, head_VC, targets_K):
            counts = gradients[0][chunk]
            of_logits = terms.exponentials.mul_((-counts / terms.sums)[:, None])
            of_logits.scatter_add_(1, targets_K[chunk, None], counts[:, None])
            rounded.copy_(of_logits)
            torch.mm(rounded, head_VC, out=of_x_KC[chunk])
            of_head_VC += rounded.t() @ x_KC[chunk]
        return of_x_KC, of_head_VC.to(head_VC.dtype), None


class _Terms(NamedTuple):
    """Of a chunk's logits, less the largest of their row: exponentials [n, V], their sums [n], and
    the target's own logit [n].
    """

    exponentials: torch.Tensor
    sums: torch.Tensor
    picked: torch.Tensor


def _terms(
    x_KC: torch.Tensor, head_VC: torch.Tensor, targets_K: torch.Tensor
) -> Iterator[tuple[slice, _Terms, torch.Tensor]]:
    """Each chunk with its terms, and room of the logits' size in x's dtype. All are in the same
    memory: pieces that are of another size each time leave a heap in holes.
    """
    rows, vocabulary = len(x_KC), len(head_VC)
    step = min(rows, max(16, LOGIT_BYTES // (4 * vocabulary)))
    rounded = x_KC.new_empty(step, vocabulary)
    wide = x_KC.new_empty(step, vocabulary, dtype=_wide(x_KC))
    for first in range(0, rows, max(1, step)):
        chunk = slice(first, min(first + step, rows))
        count = chunk.stop - first
        logits = torch.mm(x_KC[chunk], head_VC.t(), out=rounded[:count])
        logits = wide[:count].copy_(logits)
        logits.sub_(logits.amax(dim=1, keepdim=True))
        picked = logits.gather(1, targets_K[chunk, None])[:, 0]
        exponentials = logits.exp_()
        yield chunk, _Terms(exponentials, exponentials.sum(dim=1), picked), rounded[:count]


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
