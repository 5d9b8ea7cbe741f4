"""The fake of the compiled step, csrc/ops/muon_step, and how it is called."""

from collections.abc import Sequence

import torch

from pytorch_ext import library
from pytorch_ext.ops.orthogonalize.native import COEFFICIENTS


def muon_step_native(
    parameters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    momentum_GMN: torch.Tensor,
    copies: Sequence[torch.Tensor | None],
    rate: float,
    momentum: float,
    decay: float,
    gradient_scale: float,
    level: int,
    orthogonalize_level: int,
) -> None:
    """As pytorch_ext.muon_step; each level: an index into dispatch.LEVELS or BEST."""
    none = momentum_GMN.new_empty(0, dtype=torch.bfloat16)
    torch.ops.pytorch_ext.muon_step(
        list(parameters),
        [none if copy is None else copy for copy in copies],
        [g.contiguous() for g in gradients],
        *(momentum_GMN, COEFFICIENTS, rate, momentum, decay, gradient_scale),
        *(level, orthogonalize_level),
    )


if library.LOADED:

    @torch.library.register_fake("pytorch_ext::muon_step")
    def _fake(
        parameters: list[torch.Tensor],
        copies: list[torch.Tensor],
        gradients: list[torch.Tensor],
        buffer: torch.Tensor,
        coefficients: list[float],
        rate: float,
        momentum: float,
        decay: float,
        scale: float,
        level: int,
        orthogonalize_level: int,
    ) -> None:
        return None
