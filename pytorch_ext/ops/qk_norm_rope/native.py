"""Derivatives and fakes of the passes, those of csrc/ops/qk_norm_rope and
qk_norm_rope_triton.py.
"""

from typing import Any

import torch

from pytorch_ext.native import backward_pass, contiguous_like, forward_pass
from pytorch_ext.ops.qk_norm_rope.reference import qk_norm_rope_reference
from pytorch_ext.ops.rms_norm.reference import rms_norm_reference
from pytorch_ext.ops.rope.native import gradients_of_angles
from pytorch_ext.transforms import takes_reference

KERNELS = "pytorch_ext.ops.qk_norm_rope.qk_norm_rope_triton"


def qk_norm_rope_native(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    q_weight_D: torch.Tensor,
    k_weight_D: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
    level: int,
) -> tuple[torch.Tensor, ...]:
    """Queries and keys, normed and rotated by a kernel; level: an index into
    dispatch.LEVELS, BEST or TRITON.
    """
    if takes_reference():
        return qk_norm_rope_reference(q_BTHD, k_BTKD, q_weight_D, k_weight_D, cos, sin, eps)
    wide = (x.float() for x in (q_weight_D, k_weight_D, cos, sin))
    return _forward(q_BTHD, k_BTKD, *wide, eps, level)


def _of_forward(
    ctx: Any, grad_q: torch.Tensor | None, grad_k: torch.Tensor | None
) -> tuple[torch.Tensor | None, ...]:
    kept = ctx.saved_tensors  # read once: a checkpoint gives them once
    q, k, q_weight, k_weight, cos, _ = kept
    grad_q = torch.zeros_like(q) if grad_q is None else grad_q
    grad_k = torch.zeros_like(k) if grad_k is None else grad_k
    made = _backward(grad_q, grad_k, *kept, *ctx.settings)
    if not any(ctx.needs_input_grad[4:6]):
        return made

    eps, _ = ctx.settings
    by_part = [
        gradients_of_angles(grad, rms_norm_reference(x.float(), weight, eps))
        for grad, x, weight in ((grad_q, q, q_weight), (grad_k, k, k_weight))
    ]
    by_row = (of_q + of_k for of_q, of_k in zip(*by_part, strict=True))
    return *made, *(x if cos.dim() == 3 else x.sum(dim=0) for x in by_row)


def _gradients(
    grad_q: torch.Tensor,
    grad_k: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    q_weight: torch.Tensor,
    k_weight: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
    level: int,
) -> Any:
    def forward(q, k, q_weight, k_weight):
        return qk_norm_rope_reference(q, k, q_weight, k_weight, cos, sin, eps)

    return torch.func.vjp(forward, q, k, q_weight, k_weight)[1]((grad_q, grad_k))


def _fake_backward(grad_q, grad_k, q, k, q_weight, k_weight, cos, sin, eps, level):
    return tuple(contiguous_like(x) for x in (q, k, q_weight, k_weight))


ARGUMENTS = (
    "Tensor q, Tensor k, Tensor q_weight, Tensor k_weight, Tensor cos, Tensor sin, float eps, "
    "int level"
)
_backward = backward_pass(
    "qk_norm_rope_backward",
    fake=_fake_backward,
    tensors=8,
    gradients=_gradients,
    triton=(
        f"(Tensor grad_q, Tensor grad_k, {ARGUMENTS}) -> (Tensor, Tensor, Tensor, Tensor)",
        KERNELS,
    ),
)
_forward = forward_pass(
    "qk_norm_rope_forward",
    fake=lambda q, k, *rest: (contiguous_like(q), contiguous_like(k)),
    keep=lambda inputs, output: inputs[:6],
    backward=_of_forward,
    triton=(f"({ARGUMENTS}) -> (Tensor, Tensor)", KERNELS),
)
