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
    found: torch.Tensor = _LogProbs.apply(x_NC, head_VC, places_K, targets_N[places_K])
    return found


class _LogProbs(torch.autograd.Function):
    """(x [N, C], head [V, C], places and targets int64 [K]) → log-probabilities [K]."""

    @staticmethod
    def forward(
        ctx: Any,
        x_NC: torch.Tensor,
        head_VC: torch.Tensor,
        places_K: torch.Tensor,
        targets_K: torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(x_NC, head_VC, places_K, targets_K)
        found_K = x_NC.new_empty(len(places_K), dtype=_wide(x_NC))
        for chunk, terms, _ in _terms(x_NC, head_VC, places_K, targets_K):
            found_K[chunk] = terms.picked - terms.sums.log()
        return found_K

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """d log p / d logits = one-hot - softmax, times what the target counts for."""
        x_NC, head_VC, places_K, targets_K = ctx.saved_tensors
        of_x_NC = torch.zeros_like(x_NC)
        of_head_VC = torch.zeros_like(head_VC, dtype=_wide(head_VC))
        for chunk, terms, (x_nC, rounded) in _terms(x_NC, head_VC, places_K, targets_K):
            counts = gradients[0][chunk]
            of_logits = terms.exponentials.mul_((-counts / terms.sums)[:, None])
            of_logits.scatter_add_(1, targets_K[chunk, None], counts[:, None])
            rounded.copy_(of_logits)
            of_head_VC += rounded.t() @ x_nC
            of_x_NC.index_copy_(0, places_K[chunk], torch.mm(rounded, head_VC, out=x_nC))
        return of_x_NC, of_head_VC.to(head_VC.dtype), None, None


class _Terms(NamedTuple):
    """Of a chunk's logits, less the largest of their row: exponentials [n, V], their sums [n], and
    the target's own logit [n].
    """

    exponentials: torch.Tensor
    sums: torch.Tensor
    picked: torch.Tensor


def _terms(
    x_NC: torch.Tensor, head_VC: torch.Tensor, places_K: torch.Tensor, targets_K: torch.Tensor
) -> Iterator[tuple[slice, _Terms, tuple[torch.Tensor, torch.Tensor]]]:
    """Each chunk with its terms, and room that the next chunk takes again: x at its places [n, C],
    and of the logits' size in x's dtype.

    How many targets there are is another number each time, and blocks of other sizes leave a heap
    in holes: so x is picked chunk by chunk, and room is as large as if all were targets.
    """
    vocabulary = len(head_VC)
    step = min(len(x_NC), max(16, LOGIT_BYTES // (4 * vocabulary)))
    picked_x = x_NC.new_empty(step, x_NC.shape[1])
    rounded = x_NC.new_empty(step, vocabulary)
    wide = x_NC.new_empty(step, vocabulary, dtype=_wide(x_NC))

    for first in range(0, len(places_K), max(1, step)):
        chunk = slice(first, min(first + step, len(places_K)))
        count = chunk.stop - first
        x_nC = torch.index_select(x_NC, 0, places_K[chunk], out=picked_x[:count])
        logits = torch.mm(x_nC, head_VC.t(), out=rounded[:count])
        logits = wide[:count].copy_(logits)
        logits.sub_(logits.amax(dim=1, keepdim=True))
        picked = logits.gather(1, targets_K[chunk, None])[:, 0]
        exponentials = logits.exp_()
        terms = _Terms(exponentials, exponentials.sum(dim=1), picked)
        yield chunk, terms, (x_nC, rounded[:count])


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
