"""The log-probability of each target by itself, for losses that weigh whole answers
(snakelm/training/preference_losses.py): the fused cross-entropy gives their sum alone.

Logits of a chunk of targets at a time, made again on the way back, so that [N, V] never exists; the
gradient of the head is summed over chunks in at least float32. Positions without a target cost
nothing: of a preference pair that is the prompt, and padding.

Legend: N targets, C width, V vocabulary.
"""

from typing import Any

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
        parts = [
            _log_softmax(x_KC[chunk], head_VC).gather(1, targets_K[chunk, None])[:, 0]
            for chunk in _chunks(len(x_KC), len(head_VC))
        ]
        ctx.save_for_backward(x_KC, head_VC, targets_K)
        return torch.cat(parts) if parts else x_KC.new_zeros(0, dtype=_wide(x_KC))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """d log p / d logits = one-hot - softmax, times what the target counts for."""
        x_KC, head_VC, targets_K = ctx.saved_tensors
        of_x_KC = torch.empty_like(x_KC)
        of_head_VC = torch.zeros_like(head_VC, dtype=_wide(head_VC))
        for chunk in _chunks(len(x_KC), len(head_VC)):
            counts = gradients[0][chunk, None]
            of_logits = _log_softmax(x_KC[chunk], head_VC).exp_().mul_(-counts)
            of_logits.scatter_add_(1, targets_K[chunk, None], counts)
            of_logits = of_logits.to(x_KC.dtype)
            torch.mm(of_logits, head_VC, out=of_x_KC[chunk])
            of_head_VC += of_logits.t() @ x_KC[chunk]
        return of_x_KC, of_head_VC.to(head_VC.dtype), None


def _log_softmax(x_NC: torch.Tensor, head_VC: torch.Tensor) -> torch.Tensor:
    logits_NV = x_NC @ head_VC.t()
    return logits_NV.log_softmax(dim=1, dtype=_wide(x_NC))


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _chunks(rows: int, vocabulary: int) -> list[slice]:
    step = max(16, LOGIT_BYTES // (4 * vocabulary))
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]
