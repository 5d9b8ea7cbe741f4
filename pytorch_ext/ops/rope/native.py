"""Derivatives and fake of the compiled rotation, csrc/ops/rope."""

from typing import Any

import torch

from pytorch_ext.native import contiguous_like, forward_pass
from pytorch_ext.ops.rope.reference import rope_reference
from pytorch_ext.transforms import takes_reference, under_torch_func


def rope_native(
    x_BTHD: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, level: int
) -> torch.Tensor:
    """x rotated by a compiled kernel; level: an index into dispatch.LEVELS or BEST."""
    if takes_reference():
        return rope_reference(x_BTHD, cos, sin)
    return _rope(x_BTHD, cos.float(), sin.float(), False, level)[0]


def gradients_of_angles(
    grad_BTHD: torch.Tensor, x_BTHD: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of cos and sin, [B, T, D/2], by (a cos - b sin, b cos + a sin): learned angles are
    rare enough for plain torch.
    """
    a, b = x_BTHD.float().chunk(2, dim=-1)
    grad_a, grad_b = grad_BTHD.float().chunk(2, dim=-1)
    return (grad_a * a + grad_b * b).sum(dim=2), (grad_b * a - grad_a * b).sum(dim=2)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """By the opposite angle, which is the same kernel, so that every order of derivatives is."""
    x, cos, sin = ctx.saved_tensors
    back, level = ctx.settings
    (grad_x,) = _rope(grad, cos, sin, not back, level)
    if not any(ctx.needs_input_grad[1:3]):
        return (grad_x,)

    of_cos, of_sin = gradients_of_angles(grad, x)
    by_row = of_cos, -of_sin if back else of_sin
    return grad_x, *(of if cos.dim() == 3 else of.sum(dim=0) for of in by_row)


def _keep(inputs: tuple[Any, ...], output: Any) -> tuple[torch.Tensor | None, ...]:
    """Only the gradients of learned angles read x. A tensor under torch.func may be differentiated
    by a level that its flag doesn't know of.
    """
    x, cos, sin = inputs[:3]
    learned = cos.requires_grad or sin.requires_grad or under_torch_func()
    return (x if learned else None), cos, sin


_rope = forward_pass(
    "rope",
    fake=lambda x, cos, sin, back, level: contiguous_like(x),
    keep=_keep,
    backward=_backward,
)
