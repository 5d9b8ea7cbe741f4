"""AdamW's step in plain torch."""

from collections.abc import Sequence

import torch


def adamw_step_reference(
    parameters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    averages: Sequence[torch.Tensor],
    squares: Sequence[torch.Tensor],
    copies: Sequence[torch.Tensor | None],
    step: int,
    rates: Sequence[float],
    betas: tuple[float, float],
    eps: float,
    gradient_scale: float,
) -> None:
    """As pytorch_ext.adamw_step; ``rates``: of each parameter."""
    beta1, beta2 = betas
    root = (1 - beta2**step) ** 0.5
    for p, gradient, m, v, copy, rate in zip(
        parameters, gradients, averages, squares, copies, rates, strict=True
    ):
        g = gradient * gradient_scale
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        p.addcdiv_(m, v.sqrt().div_(root).add_(eps), value=-rate / (1 - beta1**step))
        if copy is not None:
            copy.copy_(p)
