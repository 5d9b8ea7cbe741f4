"""Derivatives and fakes of the compiled passes, csrc/ops/linear_cross_entropy.

Forward gives the loss and the gradient of x, by one pass over the rows. Backward scales that one,
N x C, and makes the gradient of weight, V x C, which it scales as it writes it: nothing of that
size exists before it is wanted, and no pass of its own multiplies it by a number.

In float32, where products are nearly all of the time and three of them do, forward makes both
gradients and backward scales both: in place, where autograd drops the graph and with it what
forward left.
"""

from typing import Any

import torch

from pytorch_ext import library
from pytorch_ext.native import contiguous_like
from pytorch_ext.ops.linear_cross_entropy.reference import linear_cross_entropy_reference
from pytorch_ext.ops.linear_cross_entropy.targets import check_range
from pytorch_ext.transforms import (
    applied,
    compiling,
    one_by_one,
    second_order,
    under_torch_func,
)

TERMS = 3  # float32 numbers that the rows pass leaves of each row (RowTerms of the kernel)


def linear_cross_entropy_native(
    x: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    ignore_index: int,
    mean: bool,
    z_loss: float,
    softcap: float,
    level: int,
) -> torch.Tensor:
    """See the package; softcap 0 for none, level: an index into dispatch.LEVELS or BEST."""
    if weight.dtype != torch.float32:  # float32 is cast, as it is packed, by the kernel
        weight = weight.to(x.dtype)
    # A tensor under torch.func may be differentiated by a level that its flag doesn't know of.
    on, anyhow = torch.is_grad_enabled(), under_torch_func()
    wanted = on and (x.requires_grad or anyhow), on and (weight.requires_grad or anyhow)
    inputs = (x, weight, target, ignore_index, mean, z_loss, softcap, *wanted, level)
    if compiling():
        return torch.ops.pytorch_ext.linear_cross_entropy_forward(*inputs)[0]
    return applied(CompiledCrossEntropy, *inputs)[0]


class CompiledCrossEntropy(torch.autograd.Function):
    """(x, weight, target, ignore_index, mean, z_loss, softcap, wants_x, wants_weight, level) ->
    (loss, gradient of x or nothing, of weight or nothing, terms of the rows).
    """

    @staticmethod
    def forward(*inputs: Any) -> tuple[torch.Tensor, ...]:
        """See binding.cpp."""
        _, weight, target, ignore_index, *_ = inputs
        check_range(target, target != ignore_index, weight.shape[0])
        return torch.ops.pytorch_ext.linear_cross_entropy_forward(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        """Gradient and terms are for backward alone: derivatives of them are errors, not zeros."""
        x, weight, target, *ctx.settings, ctx.wants_x, _, ctx.level = inputs
        ctx.save_for_backward(x, weight, target, *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # no zeros of the weight's size for what has no gradient

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Of x: what forward left, scaled. Of weight: by the vocabulary pass, if it is wanted."""
        if grads[0] is None:
            return (None,) * 10
        x_wanted, weight_wanted = ctx.needs_input_grad[:2]
        if x_wanted and not ctx.wants_x:
            raise RuntimeError(
                "linear_cross_entropy: backward of a forward that ran without gradients"
            )

        inputs = (grads[0], *ctx.saved_tensors, *ctx.settings, x_wanted, weight_wanted, ctx.level)
        gradients = CompiledGradients.apply if torch.is_grad_enabled() else made_gradients
        of_x, of_weight = gradients(*inputs)
        return (of_x if x_wanted else None, of_weight if weight_wanted else None, *(None,) * 8)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, ...]:
        """One call after the other: every one has a weight of its own."""
        return one_by_one(CompiledCrossEntropy, info.batch_size, in_dims, inputs)


def made_gradients(*inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(grad_loss, x, weight, target, grad_x, grad_weight, terms, ignore_index, mean, z_loss,
    softcap, x_wanted, weight_wanted, level) -> gradients of x and weight, empty unless wanted.
    """
    grad_loss, x, weight, target, grad_x, grad_weight, terms, *settings = inputs
    *settings, x_wanted, weight_wanted, level = settings
    times = torch.Tensor.mul_ if _is_dropped(grad_loss) else torch.mul
    of_x = times(grad_x, grad_loss.to(x.dtype)) if x_wanted else x.new_empty(0)
    if not weight_wanted:
        return of_x, weight.new_empty(0)
    if grad_weight.dim() == 2:  # forward has made it
        return of_x, times(grad_weight, grad_loss)
    return of_x, torch.ops.pytorch_ext.linear_cross_entropy_backward(
        grad_loss, x, weight, target, terms, *settings, level
    )


def _is_dropped(grad_loss: torch.Tensor) -> bool:
    """Whether this runs in a backward after which nobody reads what forward saved: no second one is
    to come, and no transform, trace or mode of torch watches.
    """
    return not (
        torch.is_grad_enabled()
        or under_torch_func()
        or torch._C._functorch.is_functorch_wrapped_tensor(grad_loss)
        or torch._C._functorch.is_legacy_batchedtensor(grad_loss)
        or compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._current_graph_task_id() < 0
        or torch._C._autograd._get_current_graph_task_keep_graph()
    )


class CompiledGradients(torch.autograd.Function):
    """made_gradients, differentiable by way of the reference, which holds all N x V logits."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[torch.Tensor, ...]:
        """No more than made_gradients."""
        return made_gradients(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        """What forward left are functions of x and weight, whose derivatives count them in."""
        grad_loss, x, weight, target, _, _, _, *settings = inputs
        *ctx.settings, ctx.x_wanted, ctx.weight_wanted, _ = settings
        ctx.save_for_backward(grad_loss, x, weight, target)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The second derivative; what was not wanted has no cotangent."""
        grad_loss, x, weight, target = ctx.saved_tensors
        full = (
            cotangents[0] if ctx.x_wanted else torch.zeros_like(x),
            cotangents[1] if ctx.weight_wanted else torch.zeros_like(weight),
        )

        def forward(x, weight):
            return linear_cross_entropy_reference(x, weight, target, *ctx.settings)

        return (*second_order(forward, (x, weight), grad_loss, full), *(None,) * 11)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, ...]:
        """As CompiledCrossEntropy's."""
        return one_by_one(CompiledGradients, info.batch_size, in_dims, inputs)


def _fake_forward(x, weight, target, ignore_index, mean, z_loss, softcap, wants_x, wants_w, level):
    both = wants_w and x.dtype == torch.float32
    grad_x = contiguous_like(x) if wants_x or both else x.new_empty(0)
    grad_weight = contiguous_like(weight) if both else weight.new_empty(0)
    terms = x.new_empty((x.shape[0], TERMS), dtype=torch.float32)
    return x.new_empty((), dtype=torch.float32), grad_x, grad_weight, terms


def _fake_backward(grad_loss, x, weight, *_):
    return contiguous_like(weight)


def _without_derivative(*_: Any) -> None:
    raise RuntimeError(
        "torch.ops.pytorch_ext.linear_cross_entropy_backward has no derivative; differentiate "
        "pytorch_ext.linear_cross_entropy twice instead"
    )


if library.LOADED:
    torch.library.register_fake("pytorch_ext::linear_cross_entropy_forward", _fake_forward)
    torch.library.register_fake("pytorch_ext::linear_cross_entropy_backward", _fake_backward)
    torch.library.register_autograd(
        "pytorch_ext::linear_cross_entropy_forward",
        CompiledCrossEntropy.backward,
        setup_context=CompiledCrossEntropy.setup_context,
    )
    torch.library.register_autograd(
        "pytorch_ext::linear_cross_entropy_backward", _without_derivative
    )
