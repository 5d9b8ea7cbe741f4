"""Cross-entropy over some rows of the head: what training with a sampled softmax computes
(snakelm/training/sampled_softmax.py says why and which rows).

The correction of a logit travels in more columns of the product: [x, 1] · [w, correction] in
float32, [x, 1, 1] · [w, high, low] in bfloat16, where the sum of two numbers has 16 bits and one
has 8. With zeros they fill a block of columns, which is what kernels multiply.

Legend: N rows, C width, V vocabulary, S tokens of the sample.
"""

from typing import Any

import torch
import torch.nn.functional as F

from pytorch_ext import linear_cross_entropy
from pytorch_ext.transforms import applied, compiling

__all__ = ["sampled_cross_entropy"]

NARROW_BLOCK, WIDE_BLOCK = 32, 8  # columns that a product takes at a time: bfloat16, float32


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
    places_N = torch.searchsorted(tokens_S, targets_N)
    places_N.masked_fill_(targets_N == ignore, ignore)
    inputs = x_NC, head_VC, tokens_S, correction_S
    x_NW, rows_SW = _Sampled.apply(*inputs) if compiling() else applied(_Sampled, *inputs)
    return linear_cross_entropy(x_NW, rows_SW, places_N, ignore, reduction="sum")


class _Sampled(torch.autograd.Function):
    """(x [N, C], matrix [V, C], tokens [S], correction [S]) → x and the tokens' rows, each with the
    columns of the correction: [N, W], [S, W]. One function, since each operation costs a small
    model's step as much as a thousand of its numbers. Every row of the matrix comes once, so its
    gradient is put in its place and not added: a pass over memory, and the same bits everywhere.
    """

    @staticmethod
    def forward(
        x_NC: torch.Tensor,
        matrix_VC: torch.Tensor,
        tokens_S: torch.Tensor,
        correction_S: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        width, narrow = x_NC.shape[1], x_NC.dtype.itemsize < 4
        parts, block = (2, NARROW_BLOCK) if narrow else (1, WIDE_BLOCK)
        more = parts + (-width - parts) % block
        x_NW = F.pad(x_NC, (0, more), value=1.0)  # ones by zeros, but for the first

        high_S = correction_S.to(x_NC.dtype)
        rows_SW = matrix_VC.new_zeros(len(tokens_S), width + more)
        rows_SW[:, :width] = matrix_VC.index_select(0, tokens_S)
        rows_SW[:, width] = high_S
        if narrow:
            rows_SW[:, width + 1] = (correction_S - high_S).to(x_NC.dtype)
        return x_NW, rows_SW

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        x_NC, matrix_VC, tokens_S, _ = inputs
        ctx.save_for_backward(tokens_S)
        ctx.set_materialize_grads(False)
        ctx.vocabulary, ctx.width = matrix_VC.shape[0], x_NC.shape[1]

    @staticmethod
    def backward(
        ctx: Any, grad_x_NW: torch.Tensor | None, grad_rows_SW: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        (tokens_S,) = ctx.saved_tensors
        grad_x_NC = None if grad_x_NW is None else grad_x_NW[:, : ctx.width]
        if grad_rows_SW is None:
            return grad_x_NC, None, None, None
        grad_VC = grad_rows_SW.new_zeros(ctx.vocabulary, ctx.width)
        grad_VC.index_copy_(0, tokens_S, grad_rows_SW[:, : ctx.width])
        return grad_x_NC, grad_VC, None, None
