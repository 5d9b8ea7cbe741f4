"""Derivatives and fakes of the passes, those of csrc/ops/rms_norm and rms_norm_triton.py."""

from typing import Any

import torch

from pytorch_ext.native import backward_pass, contiguous_like, forward_pass
from pytorch_ext.ops.rms_norm.reference import add_rms_norm_reference, rms_norm_reference
from pytorch_ext.transforms import takes_reference

KERNELS = "pytorch_ext.ops.rms_norm.rms_norm_triton"


def rms_norm_native(
    x: torch.Tensor, weight: torch.Tensor | None, eps: float, level: int
) -> torch.Tensor:
    """The norm of x [..., C] by a kernel; level: an index into dispatch.LEVELS, BEST or TRITON."""
    if takes_reference():
        return rms_norm_reference(x, weight, eps)
    return _forward(x, None if weight is None else weight.float(), eps, level)[0]


def add_rms_norm_native(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor | None, eps: float, level: int
) -> tuple[torch.Tensor, ...]:
    """(norm of x + residual, x + residual), both like x."""
    if takes_reference():
        return add_rms_norm_reference(x, residual, weight, eps)
    return _add_forward(x, residual, None if weight is None else weight.float(), eps, level)


def _of_forward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    grad_x, grad_weight = _backward(grad, None, x, weight, *ctx.settings)
    return grad_x, None if weight is None else grad_weight


def _of_add_forward(
    ctx: Any, grad: torch.Tensor | None, grad_sum: torch.Tensor | None
) -> tuple[torch.Tensor | None, ...]:
    total, weight = ctx.saved_tensors
    if grad is None:  # only the sum was used
        return grad_sum, grad_sum, None
    grad_x, grad_weight = _backward(grad, grad_sum, total, weight, *ctx.settings)
    return grad_x, grad_x, None if weight is None else grad_weight


def _gradients(
    grad: torch.Tensor,
    grad_sum: torch.Tensor | None,
    x: torch.Tensor,
    weight: torch.Tensor | None,
    eps: float,
    level: int,
) -> tuple[torch.Tensor, ...]:
    if weight is None:
        (grad_x,) = torch.func.vjp(lambda x: rms_norm_reference(x, None, eps), x)[1](grad)
        grad_weight = x.new_zeros(0, dtype=torch.float32)
    else:
        pull = torch.func.vjp(lambda x, weight: rms_norm_reference(x, weight, eps), x, weight)[1]
        grad_x, grad_weight = pull(grad)
    return grad_x if grad_sum is None else grad_x + grad_sum, grad_weight


def _fake_backward(grad, grad_sum, x, weight, eps, level):
    width = 0 if weight is None else weight.shape[0]
    return contiguous_like(x), x.new_empty(width, dtype=torch.float32)


_backward = backward_pass(
    "rms_norm_backward",
    fake=_fake_backward,
    tensors=4,
    gradients=_gradients,
    triton=(
        "(Tensor grad, Tensor? grad_sum, Tensor x, Tensor? weight, float eps, int level) -> "
        "(Tensor, Tensor)",
        KERNELS,
    ),
)
_forward = forward_pass(
    "rms_norm_forward",
    fake=lambda x, weight, eps, level: contiguous_like(x),
    keep=lambda inputs, output: inputs[:2],
    backward=_of_forward,
    triton=("(Tensor x, Tensor? weight, float eps, int level) -> Tensor", KERNELS),
)
_add_forward = forward_pass(
    "add_rms_norm_forward",
    fake=lambda x, residual, weight, eps, level: (contiguous_like(x), contiguous_like(x)),
    keep=lambda inputs, output: (output[1], inputs[2]),
    backward=_of_add_forward,
    triton=(
        "(Tensor x, Tensor residual, Tensor? weight, float eps, int level) -> (Tensor, Tensor)",
        KERNELS,
    ),
)
