"""Derivatives and fakes of the kernels: the compiled ones (csrc/ops/attention), CPU and CUDA alike,
and Triton's (attention_triton.py).

torch.ops.pytorch_ext.attention_forward and attention_backward are defined in binding.cpp; the
tensor's device picks the kernel. attention_forward_triton and attention_backward_triton have the
same schemas. torch.compile traces these operators; everything else goes through the autograd
functions here, since torch.func takes no other kind.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch

from pytorch_ext import library
from pytorch_ext.arguments import check_tensors
from pytorch_ext.dispatch import TRITON
from pytorch_ext.ops.attention.reference import attention_reference
from pytorch_ext.transforms import (
    applied,
    below_autograd,
    compiling,
    second_order,
    takes_reference,
)


def attention_native(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    row_start_BT: torch.Tensor | None,
    scale: float,
    level: int,
) -> torch.Tensor:
    """Attention by a kernel -> [B, T, H, D]; level: an index into dispatch.LEVELS or BEST (the
    CPU's; CUDA ignores it), or TRITON.
    """
    inputs = q_BTHD, k_BTKD, v_BTKD, row_start_BT, scale, level
    if takes_reference():
        return attention_reference(*inputs[:-1])
    if compiling():
        return _call("attention_forward", inputs)[0]
    return applied(AttentionForward, *inputs)[0]


def _call(name: str, inputs: tuple[Any, ...]) -> tuple[torch.Tensor, ...]:
    """torch.ops.pytorch_ext.<name>, or its like of Triton; the last input is the level."""
    operator = f"{name}_triton" if inputs[-1] == TRITON else name
    return below_autograd(getattr(torch.ops.pytorch_ext, operator), *inputs)


class AttentionForward(torch.autograd.Function):
    """The forward kernel: (q, k, v, row_start, scale, level) -> (out, log_sum)."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[torch.Tensor, ...]:
        """See binding.cpp."""
        return _call("attention_forward", inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        """log_sum is for backward alone: a derivative of it is an error, not zero."""
        q, k, v, row_start, ctx.scale, ctx.level = inputs
        ctx.save_for_backward(q, k, v, row_start, *output)
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """By the backward kernel, which is differentiable in its turn."""
        if grads[0] is None:
            return (None,) * 6
        q, k, v, row_start, out, log_sum = ctx.saved_tensors
        inputs = grads[0], q, k, v, out, log_sum, row_start, ctx.scale, ctx.level
        if compiling():
            made = _call("attention_backward", inputs)
        else:
            made = applied(AttentionBackward, *inputs)
        return (*made, None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, ...]:
        """One call on a longer batch."""
        return _on_longer_batch(AttentionForward, info.batch_size, in_dims, inputs)


class AttentionBackward(torch.autograd.Function):
    """The backward kernel: (grad_out, q, k, v, out, log_sum, row_start, scale, level) ->
    (grad_q, grad_k, grad_v).
    """

    @staticmethod
    def forward(*inputs: Any) -> tuple[torch.Tensor, ...]:
        """See binding.cpp."""
        return _call("attention_backward", inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        """out and log_sum are functions of q, k and v, whose derivatives count them in."""
        grad_out, q, k, v, _, _, row_start, ctx.scale, _ = inputs
        ctx.save_for_backward(grad_out, q, k, v, row_start)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """By the reference, whose memory is quadratic in T."""
        grad_out, q, k, v, row_start = ctx.saved_tensors

        def forward(q, k, v):
            return attention_reference(q, k, v, row_start, ctx.scale)

        return (*second_order(forward, (q, k, v), grad_out, cotangents), *(None,) * 5)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, ...]:
        """One call on a longer batch."""
        return _on_longer_batch(AttentionBackward, info.batch_size, in_dims, inputs)


def _on_longer_batch(
    function: type[torch.autograd.Function],
    count: int,
    in_dims: tuple[int | None, ...],
    inputs: tuple[Any, ...],
) -> tuple[Any, ...]:
    """vmap over `count` of a function whose tensors all begin with the batch: (outputs, their
    mapped dimensions).
    """

    def merged(x: Any, dim: int | None) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        mapped = x.expand(count, *x.shape) if dim is None else x.movedim(dim, 0)
        return mapped.flatten(0, 1)

    made = function.apply(*(merged(x, dim) for x, dim in zip(inputs, in_dims, strict=True)))
    outputs = tuple(x.unflatten(0, (count, x.shape[0] // max(count, 1))) for x in made)
    return outputs, (0,) * len(outputs)


def _check_devices(row_start: torch.Tensor | None, **tensors: torch.Tensor) -> None:
    more = {} if row_start is None else {"row_start": row_start}
    check_tensors("attention", **tensors, **more)


def _fake_forward(q, k, v, row_start, scale, level):
    _check_devices(row_start, q=q, k=k, v=v)
    batch, length, heads, _ = q.shape
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    return out, q.new_empty((batch, heads, 2, length), dtype=torch.float32)


def _fake_backward(grad_out, q, k, v, out, log_sum, row_start, scale, level):
    _check_devices(row_start, q=q, k=k, v=v, grad_out=grad_out, out=out, log_sum=log_sum)
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))


def _register(name: str, function: type[Any], fake: Callable[..., Any]) -> None:
    torch.library.register_fake(name, fake)
    torch.library.register_autograd(name, function.backward, setup_context=function.setup_context)


def _define_triton(name: str, schema: str) -> None:
    """<name>_triton; attention_triton.py, and with it triton, is imported when it first runs."""
    operator = f"pytorch_ext::{name}_triton"
    torch.library.define(operator, schema)

    @torch.library.impl(operator, ("cuda", "cpu"))  # cpu: for Triton's interpreter
    def run(*inputs: Any) -> tuple[torch.Tensor, ...]:
        launch = getattr(importlib.import_module(f"{__package__}.attention_triton"), name)
        with torch.cuda.device_of(inputs[0]):
            return launch(*inputs[:-1])


_define_triton(
    "attention_forward",
    "(Tensor q, Tensor k, Tensor v, Tensor? row_start, float scale, int level) -> (Tensor, Tensor)",
)
_define_triton(
    "attention_backward",
    "(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor log_sum, "
    "Tensor? row_start, float scale, int level) -> (Tensor, Tensor, Tensor)",
)
for suffix in ("", "_triton") if library.LOADED else ("_triton",):
    _register(f"pytorch_ext::attention_forward{suffix}", AttentionForward, _fake_forward)
    _register(f"pytorch_ext::attention_backward{suffix}", AttentionBackward, _fake_backward)
