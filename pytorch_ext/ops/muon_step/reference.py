"""Muon's step for matrices of one shape in plain torch."""

from collections.abc import Sequence

import torch

from pytorch_ext.ops.orthogonalize import orthogonalize


def muon_step_reference(
    parameters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    momentum_GMN: torch.Tensor,
    copies: Sequence[torch.Tensor | None],
    rate: float,
    momentum: float,
    decay: float,
    gradient_scale: float,
) -> None:
    """As pytorch_ext.muon_step."""
    # Nesterov: the gradient is mixed with the momentum that already holds it.
    g_GMN = torch.stack(list(gradients)) * gradient_scale
    momentum_GMN.lerp_(g_GMN, 1 - momentum)
    update_GMN = orthogonalize(g_GMN.lerp_(momentum_GMN, momentum).bfloat16())

    for p, copy, update in zip(parameters, copies, update_GMN.unbind(), strict=True):
        if decay:
            p.mul_(1 - decay)
        p.add_(update, alpha=-rate)
        if copy is not None:
            copy.copy_(p)
