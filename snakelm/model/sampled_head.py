"""Cross-entropy over some rows of the head: what training with a sampled softmax computes
(snakelm/training/sampled_softmax.py says why and which rows).

The correction of a logit travels in two more columns of the product, [x, 1, 1] · [w, high, low]: in
bfloat16 the sum of two numbers has 16 bits where one has 8. With zeros they fill a block of
columns, which is what kernels multiply.

Legend: N rows, C width, V vocabulary, S tokens of the sample.
"""

from typing import Any

import torch
import torch.nn.functional as F

from pytorch_ext import linear_cross_entropy

__all__ = ["sampled_cross_entropy"]

BLOCK = 32  # columns that a product takes at a time


def sampled_cross_entropy(
    x_NC: torch.Tensor,
    head_VC: torch.Tensor,
    targets_N: torch.Tensor,
    tokens_S: torch.Tensor,
    correction_S: torch.Tensor,
    ignore: int,
) -> torch.Tensor:
    """Summed cross-entropy of the softmax over ``tokens_S`` (int64, ascending, with every target
    but ``ignore``), whose logits get ``correction_S`` (float32) added.
    """
    places_N = torch.searchsorted(tokens_S, targets_N).where(targets_N != ignore, ignore)

    high_S = correction_S.to(x_NC.dtype)
    low_S = (correction_S - high_S).to(x_NC.dtype)
    rows_SC = _SampledRows.apply(head_VC, tokens_S)
    columns_S2 = torch.stack([high_S, low_S], dim=1).to(rows_SC.dtype)
    padding = (-x_NC.shape[1] - 2) % BLOCK
    ones_N2 = x_NC.new_ones(x_NC.shape[0], 2)
    return linear_cross_entropy(
        torch.cat([x_NC, F.pad(ones_N2, (0, padding))], dim=1),
        torch.cat([rows_SC, F.pad(columns_S2, (0, padding))], dim=1),
        places_N,
        ignore,
        reduction="sum",
    )


class _SampledRows(torch.autograd.Function):
    """(matrix [V, C], rows [S]) → [S, C]. Each row once, so that its gradient is put in its place
    and not added: a pass over memory, and the same bits everywhere.
    """

    @staticmethod
    def forward(ctx: Any, matrix_VC: torch.Tensor, rows_S: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(rows_S)
        ctx.vocabulary = matrix_VC.shape[0]
        return matrix_VC.index_select(0, rows_S)

    @staticmethod
    def backward(ctx: Any, grad_SC: torch.Tensor) -> tuple[torch.Tensor, None]:
        (rows_S,) = ctx.saved_tensors
        grad_VC = grad_SC.new_zeros(ctx.vocabulary, grad_SC.shape[1])
        return grad_VC.index_copy_(0, rows_S, grad_SC), None
