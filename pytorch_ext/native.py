"""How the passes of an operator, compiled or Triton's, become functions that torch differentiates,
transforms and traces.

torch.compile traces the operators torch.ops.pytorch_ext.*; everything else goes through an
autograd.Function, since torch.func takes no other kind. Derivatives of a backward pass are those of
the same thing in plain torch.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch

from pytorch_ext import library
from pytorch_ext.dispatch import TRITON
from pytorch_ext.transforms import applied, below_autograd, compiling, one_by_one

Tensors = tuple[torch.Tensor, ...]


def contiguous_like(x: torch.Tensor) -> torch.Tensor:
    """What the kernels return for x: its shape and dtype, contiguous."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def forward_pass(
    name: str,
    *,
    fake: Callable[..., Any],
    keep: Callable[..., tuple[torch.Tensor | None, ...]],
    backward: Callable[..., tuple[torch.Tensor | None, ...]],
    triton: tuple[str, str] | None = None,
) -> Callable[..., Tensors]:
    """torch.ops.pytorch_ext.<name>(*tensors, eps or the like, level) as a differentiable function
    with a tuple of outputs; where level is TRITON, torch.ops.pytorch_ext.<name>_triton.

    ``keep(inputs, outputs)``: the tensors that backward reads, ctx.saved_tensors.
    ``backward(ctx, *gradients)``: gradients of the first inputs, None for an output that nobody
    used; ctx.settings has all inputs that are no tensors.
    ``triton``: the schema of <name>_triton, and the module whose function <name> it is.
    """

    class ForwardPass(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Any) -> Tensors:
            return _call(name, inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            ctx.save_for_backward(*keep(inputs, output))
            ctx.settings = tuple(x for x in inputs if isinstance(x, int | float))
            ctx.count = len(inputs)
            ctx.set_materialize_grads(False)

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
            made = backward(ctx, *grads)
            return (*made, *(None,) * (ctx.count - len(made)))

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, ...]:
            return one_by_one(ForwardPass, info.batch_size, in_dims, inputs)

    return _registered(name, ForwardPass, fake, triton)


def backward_pass(
    name: str,
    *,
    fake: Callable[..., Any],
    tensors: int,
    gradients: Callable[..., Tensors],
    triton: tuple[str, str] | None = None,
) -> Callable[..., Tensors]:
    """torch.ops.pytorch_ext.<name>, its first inputs ``tensors`` tensors or None, as a
    differentiable function. ``gradients`` computes the same in plain torch. ``triton``: as
    forward_pass takes it.
    """

    class BackwardPass(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Any) -> Tensors:
            return _call(name, inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            ctx.save_for_backward(*inputs[:tensors])
            ctx.settings = inputs[tensors:]

        @staticmethod
        def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            kept = ctx.saved_tensors

            def of_given(*given: torch.Tensor) -> Tensors:
                rest = iter(given)
                full = (None if x is None else next(rest) for x in kept)
                return gradients(*full, *ctx.settings)

            pull = torch.func.vjp(of_given, *(x for x in kept if x is not None))[1]
            found = iter(pull(cotangents))
            made = (None if x is None else next(found) for x in kept)
            return (*made, *(None,) * len(ctx.settings))

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, ...]:
            return one_by_one(BackwardPass, info.batch_size, in_dims, inputs)

    return _registered(name, BackwardPass, fake, triton)


def _call(name: str, inputs: tuple[Any, ...]) -> Tensors:
    operator = f"{name}_triton" if inputs[-1] == TRITON else name
    made = below_autograd(getattr(torch.ops.pytorch_ext, operator), *inputs)
    return made if isinstance(made, tuple) else (made,)


def _registered(
    name: str,
    function: type[Any],
    fake: Callable[..., Any],
    triton: tuple[str, str] | None,
) -> Callable[..., Tensors]:
    operators = [f"pytorch_ext::{name}"] if library.LOADED else []
    if triton is not None:
        operators.append(f"pytorch_ext::{name}_triton")
        _define_triton(operators[-1], name, *triton)
    for operator in operators:
        torch.library.register_fake(operator, fake)
        torch.library.register_autograd(
            operator, function.backward, setup_context=function.setup_context
        )

    def call(*inputs: Any) -> Tensors:
        return _call(name, inputs) if compiling() else applied(function, *inputs)

    return call


def _define_triton(operator: str, name: str, schema: str, module: str) -> None:
    """The module, and with it triton, is imported when the operator first runs."""
    torch.library.define(operator, schema)

    @torch.library.impl(operator, ("cuda", "cpu"))  # cpu: for Triton's interpreter
    def run(*inputs: Any) -> Any:
        launch = getattr(importlib.import_module(module), name)
        with torch.cuda.device_of(inputs[0]):
            return launch(*inputs)
