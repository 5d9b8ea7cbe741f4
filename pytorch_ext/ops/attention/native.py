"""Autograd and fake of the compiled kernels (csrc/ops/attention), CPU and CUDA alike.

torch.ops.pytorch_ext.attention_forward and attention_backward are defined in binding.cpp; the
tensor's device picks the kernel. They are registered here where the library is built.
"""

from typing import Any

import torch

from pytorch_ext import library


def attention_native(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    row_start_BT: torch.Tensor | None,
    scale: float,
    level: int,
) -> torch.Tensor:
    """Attention by a compiled kernel -> [B, T, H, D]; level: an index into dispatch.LEVELS or BEST
    (the CPU's; CUDA ignores it).
    """
    forward = torch.ops.pytorch_ext.attention_forward
    return forward(q_BTHD, k_BTKD, v_BTKD, row_start_BT, scale, level)[0]


def _fake_forward(q, k, v, row_start, scale, level):
    batch, length, heads, _ = q.shape
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    return out, q.new_empty((batch, heads, length), dtype=torch.float32)


def _fake_backward(grad_out, q, k, v, out, log_sum, row_start, scale, level):
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    q, k, v, row_start, ctx.scale, ctx.level = inputs
    ctx.save_for_backward(q, k, v, row_start, *output)


def _backward(ctx, grad_out, _grad_log_sum):
    q, k, v, row_start, out, log_sum = ctx.saved_tensors
    grads = torch.ops.pytorch_ext.attention_backward(
        grad_out, q, k, v, out, log_sum, row_start, ctx.scale, ctx.level
    )
    return (*grads, None, None, None)


if library.LOADED:
    torch.library.register_fake("pytorch_ext::attention_forward", _fake_forward)
    torch.library.register_fake("pytorch_ext::attention_backward", _fake_backward)
    torch.library.register_autograd(
        "pytorch_ext::attention_forward", _backward, setup_context=_save
    )
