"""Derivatives and fakes of the passes, those of csrc/ops/swiglu and swiglu_triton.py."""

from typing import Any

import torch

from pytorch_ext.native import backward_pass, contiguous_like, forward_pass
from pytorch_ext.ops.swiglu.reference import swiglu_reference
from pytorch_ext.transforms import takes_reference

KERNELS = "pytorch_ext.ops.swiglu.swiglu_triton"


def swiglu_native(gate: torch.Tensor, up: torch.Tensor, level: int) -> torch.Tensor:
    """silu(gate) * up by a kernel; level: an index into dispatch.LEVELS, BEST or TRITON."""
    if takes_reference():
        return swiglu_reference(gate, up)
    return _forward(gate, up, level)[0]


def _of_forward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return _backward(grad, *ctx.saved_tensors, *ctx.settings)


def _gradients(grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, level: int) -> Any:
    return torch.func.vjp(swiglu_reference, gate, up)[1](grad)


_backward = backward_pass(
    "swiglu_backward",
    fake=lambda grad, gate, up, level: (contiguous_like(gate), contiguous_like(up)),
    tensors=3,
    gradients=_gradients,
    triton=("(Tensor grad, Tensor gate, Tensor up, int level) -> (Tensor, Tensor)", KERNELS),
)
_forward = forward_pass(
    "swiglu_forward",
    fake=lambda gate, up, level: contiguous_like(gate),
    keep=lambda inputs, output: inputs[:2],
    backward=_of_forward,
    triton=("(Tensor gate, Tensor up, int level) -> Tensor", KERNELS),
)
