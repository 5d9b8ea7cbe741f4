"""The fake of the compiled iterations, csrc/ops/orthogonalize, and how they are called."""

import torch

from pytorch_ext import library
from pytorch_ext.native import contiguous_like
from pytorch_ext.ops.orthogonalize.reference import STEPS

COEFFICIENTS = [coefficient for step in STEPS for coefficient in step]


def orthogonalize_native(x: torch.Tensor, level: int) -> torch.Tensor:
    """x [G, M, N] bfloat16 by a compiled kernel; level: an index into dispatch.LEVELS or BEST."""
    made: torch.Tensor = torch.ops.pytorch_ext.orthogonalize(x.detach(), COEFFICIENTS, level)
    return made


if library.LOADED:

    @torch.library.register_fake("pytorch_ext::orthogonalize")
    def _fake(x: torch.Tensor, coefficients: list[float], level: int) -> torch.Tensor:
        return contiguous_like(x)
