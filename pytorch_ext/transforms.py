"""What torch's function transforms need of an operator with a kernel: forward mode, torch.func,
derivatives of the second order and above.

A kernel computes values and first derivatives. Everything beyond that is the reference's: it is
plain torch, so every transform takes it apart, and it has every derivative. A custom operator left
to torch's own handling gives zeros there, without a word.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

__all__ = [
    "applied",
    "below_autograd",
    "compiling",
    "one_by_one",
    "second_order",
    "takes_reference",
    "under_torch_func",
]


def compiling() -> bool:
    """Whether torch.compile or torch.export traces this call: the operator itself is wanted then,
    not the autograd.Function around it.
    """
    return torch.compiler.is_compiling()


def under_torch_func() -> bool:
    """Whether torch.func.grad, vmap or the like is on."""
    return torch._C._are_functorch_transforms_active()


def takes_reference() -> bool:
    """Whether only the reference serves this call: forward mode is on (torch.func.jvp and jacfwd
    too), or torch.func is traced by torch.compile, or functionalize is among its transforms, which
    takes no autograd.Function.
    """
    if forward_ad._current_level >= 0:
        return True
    return under_torch_func() and (compiling() or _functionalizing())


def applied(function: type[torch.autograd.Function], *inputs: Any) -> Any:
    """``function.apply(*inputs)`` in less time: torch binds the inputs to forward's signature anew
    in each call, and keeps for backward what no backward will ask for where gradients are off.
    """
    if under_torch_func() or forward_ad._current_level >= 0:
        return function.apply(*inputs)
    alive = torch._functorch.utils.unwrap_dead_wrappers(inputs)
    if not torch.is_grad_enabled():
        return function.forward(*alive)  # takes no ctx: there is a setup_context
    inside: Any = super(torch.autograd.Function, function)  # what Function.apply itself ends in
    return inside.apply(*alive)


def below_autograd(operator: Callable[..., Any], *inputs: Any) -> Any:
    """An operator called inside an autograd.Function, which knows the derivative: torch's own way
    to it, by the operator's registration, is passed by. A trace wants it all the same.
    """
    if compiling():
        return operator(*inputs)
    with torch._C._AutoDispatchBelowAutograd():
        return operator(*inputs)


def _functionalizing() -> bool:
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return any(one.key() == torch._C._functorch.TransformType.Functionalize for one in stack)


def second_order(
    forward: Callable[..., torch.Tensor],
    inputs: Sequence[torch.Tensor],
    grad_output: torch.Tensor,
    cotangents: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    """Backward of a backward: what `cotangents` of the gradients of `inputs` mean for (grad_output,
    *inputs), by differentiating `forward` twice. Differentiable again.
    """

    def gradients(grad: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.func.vjp(forward, *inputs)[1](grad)

    return torch.func.vjp(gradients, grad_output, *inputs)[1](tuple(cotangents))


def one_by_one(
    function: type[torch.autograd.Function],
    count: int,
    in_dims: Sequence[int | None],
    inputs: Sequence[Any],
) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
    """vmap over `count` of a function that takes no batch: (outputs, their mapped dimensions)."""
    made = [
        function.apply(
            *(
                x if dim is None else x.select(dim, i)
                for x, dim in zip(inputs, in_dims, strict=True)
            )
        )
        for i in range(count)
    ]
    outputs = tuple(torch.stack(parts) for parts in zip(*made, strict=True))
    return outputs, (0,) * len(outputs)
