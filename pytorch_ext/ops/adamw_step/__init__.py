"""A step of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) without weight decay:
`adamw_step(parameters, gradients, averages, squares, ...)`.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/adamw_step: one pass, which also scales the gradients and writes bfloat16
               copies of the weights; torch's own fused step takes a pass more for each.
    reference  plain torch, any device and dtype.
"""

from collections.abc import Sequence

import torch

from pytorch_ext import library
from pytorch_ext.arguments import check_dense, check_like, check_list, check_number
from pytorch_ext.dispatch import choose
from pytorch_ext.ops.adamw_step.reference import adamw_step_reference


def adamw_step(
    parameters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    averages: Sequence[torch.Tensor],
    squares: Sequence[torch.Tensor],
    *,
    step: int,
    rate: float | Sequence[float],
    betas: tuple[float, float],
    eps: float,
    gradient_scale: float = 1.0,
    copies: Sequence[torch.Tensor | None] | None = None,
    backend: str | None = None,
) -> None:
    """In place, for each parameter p with its gradient g and moments m, v of one shape:

        m ← m + (1 - β₁) (s g - m)                   s = gradient_scale
        v ← β₂ v + (1 - β₂) (s g)²
        p ← p - rate / (1 - β₁ᵗ) m / (√(v / (1 - β₂ᵗ)) + eps)

    step: t, this step counted, from 1. rate: of all, or of each parameter. copies: of each
    parameter in bfloat16, written too; None: there is none. What is written must be contiguous.
    Torch's version counters don't see the writes of the compiled backend.

    Raises ValueError when lists or shapes don't fit or step is below 1, TypeError for what is no
    tensor or number, RuntimeError for a backend that is missing here or doesn't take such tensors.
    """
    check_list("adamw_step", "parameters", parameters)
    for name, tensors in (("gradients", gradients), ("averages", averages), ("squares", squares)):
        check_like("adamw_step", name, tensors, parameters)
    copies = [None] * len(parameters) if copies is None else copies
    check_like("adamw_step", "copies", copies, parameters, torch.bfloat16)
    check_dense(
        "adamw_step", parameters=parameters, averages=averages, squares=squares, copies=copies
    )
    rates = _rates(rate, len(parameters))
    check_number("adamw_step", "eps", eps)
    check_number("adamw_step", "gradient_scale", gradient_scale)
    if step < 1:
        raise ValueError(f"adamw_step: step is {step}; at least 1 expected")

    name, level = choose("adamw_step", backend, "parameters[0]", parameters[0])
    with torch.no_grad():
        if name == "reference":
            adamw_step_reference(
                *(parameters, gradients, averages, squares, copies),
                *(step, rates, betas, eps, gradient_scale),
            )
            return
        none = parameters[0].new_empty(0, dtype=torch.bfloat16)
        written = [none if copy is None else copy for copy in copies]
        dense = [g.contiguous() for g in gradients]
        torch.ops.pytorch_ext.adamw_step(
            *(list(parameters), written, dense, list(averages), list(squares)),
            *(step, rates, *betas, eps, gradient_scale, level),
        )


def _rates(rate: float | Sequence[float], count: int) -> list[float]:
    """One for each parameter."""
    rates = list(rate) if isinstance(rate, Sequence) else [rate] * count
    if len(rates) != count:
        raise ValueError(f"adamw_step: {len(rates)} rates; {count} expected")
    for value in rates:
        check_number("adamw_step", "rate", value)
    return rates


if library.LOADED:

    @torch.library.register_fake("pytorch_ext::adamw_step")
    def _fake(
        parameters: list[torch.Tensor],
        copies: list[torch.Tensor],
        gradients: list[torch.Tensor],
        averages: list[torch.Tensor],
        squares: list[torch.Tensor],
        step: int,
        rates: list[float],
        beta1: float,
        beta2: float,
        eps: float,
        scale: float,
        level: int,
    ) -> None:
        return None
