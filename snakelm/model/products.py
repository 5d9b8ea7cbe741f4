"""Products with weights: `products(x, a, b, …)` is x aᵀ, x bᵀ, …, by the weights' working copies.

Backward adds the gradients of an x that several matrices read up inside the products, and hands
each parameter its gradient in the parameter's dtype: autograd, left to itself, would add in passes
of its own. Where no copy is held (working_copies.py: float32, LoRA, torch.compile, torch.func, …)
and under autocast it is torch's own linear, one for each matrix.

Rejected, because it gained nothing (docs/EXPERIMENTS.md): one product over copies that lie in one
piece of memory, with outputs side by side.
"""

from typing import Any

import torch
import torch.nn.functional as F

from pytorch_ext import weight_gradients
from pytorch_ext.dispatch import choose

from .working_copies import cached_copy, working_copy

__all__ = ["product", "products"]


def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x [..., C] and weight [R, C], in x's dtype → [..., R]."""
    return products(x, weight)[0]


def products(x: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """x [..., C] and weights [R_i, C], in x's dtype → each [..., R_i]."""
    if torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type):
        copies = [cached_copy(w, x.dtype) for w in weights]
        if all(copy is not None for copy in copies):
            return _Products.apply(x, *copies, *weights)
    return tuple(F.linear(x, working_copy(w, x.dtype)) for w in weights)


class _Products(torch.autograd.Function):
    """(x, the weights' copies, the weights) → the products."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, *copies_weights: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(x, *copies_weights)
        ctx.set_materialize_grads(False)
        return tuple(F.linear(x, copy) for copy in copies_weights[: len(copies_weights) // 2])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        x, *both = ctx.saved_tensors
        copies, weights = both[: len(grads)], both[len(grads) :]
        wants_x, wants = ctx.needs_input_grad[0], ctx.needs_input_grad[1 + len(grads) :]
        if torch.is_grad_enabled():  # a second derivative: a copy is no function of its weight
            copies = [w.to(x.dtype) for w in weights]

        x_NC = x.reshape(-1, x.shape[-1])
        grads_NR = [None if g is None else g.reshape(-1, g.shape[-1]) for g in grads]
        grad_x_NC: torch.Tensor | None = None
        for grad_NR, copy in zip(grads_NR, copies, strict=True):
            if wants_x and grad_NR is not None:
                grad_x_NC = grad_NR @ copy if grad_x_NC is None else grad_x_NC.addmm_(grad_NR, copy)

        wanted = {i: g for i, g in enumerate(grads_NR) if wants[i] and g is not None}
        made = dict(zip(wanted, _of_weights(x_NC, list(wanted.values()), weights), strict=True))
        grad_x = None if grad_x_NC is None else grad_x_NC.view_as(x)
        return (grad_x, *(None,) * len(copies), *(made.get(i) for i in range(len(grads))))


def _of_weights(
    x_NC: torch.Tensor, grads_NR: list[torch.Tensor], weights: list[torch.Tensor]
) -> list[torch.Tensor]:
    """gᵀ x of each gradient, in the weights' dtype."""
    dtype = weights[0].dtype
    name = choose("weight_gradients", None, "x", x_NC)[0]
    if not grads_NR or torch.is_grad_enabled() or name == "reference" or dtype != torch.float32:
        return [(grad_NR.t() @ x_NC).to(dtype) for grad_NR in grads_NR]
    return weight_gradients(x_NC, grads_NR)
