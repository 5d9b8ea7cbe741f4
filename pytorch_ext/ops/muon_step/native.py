"""Fakes of the compiled passes, csrc/ops/muon_step, and how they are called."""

from collections.abc import Sequence

import torch

from pytorch_ext import library
from pytorch_ext.ops.orthogonalize import orthogonalize


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
) -> None:
    """As pytorch_ext.muon_step; level: an index into dispatch.LEVELS or BEST."""
    dense = [g.contiguous() for g in gradients]
    none = momentum_GMN.new_empty(0, dtype=torch.bfloat16)
    update_GMN = torch.ops.pytorch_ext.muon_momentum(
        dense, momentum_GMN, momentum, gradient_scale, level
    )
    written = [none if copy is None else copy for copy in copies]
    torch.ops.pytorch_ext.muon_update(
        list(parameters), written, orthogonalize(update_GMN), rate, decay, level
    )


if library.LOADED:

    @torch.library.register_fake("pytorch_ext::muon_momentum")
    def _fake_momentum(
        gradients: list[torch.Tensor],
        buffer: torch.Tensor,
        momentum: float,
        scale: float,
        level: int,
    ) -> torch.Tensor:
        return buffer.new_empty(buffer.shape, dtype=torch.bfloat16)

    @torch.library.register_fake("pytorch_ext::muon_update")
    def _fake_update(
        parameters: list[torch.Tensor],
        copies: list[torch.Tensor],
        x: torch.Tensor,
        rate: float,
        decay: float,
        level: int,
    ) -> None:
        return None
