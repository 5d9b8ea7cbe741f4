"""The norm of all numbers of several tensors together: `total_norm(gradients)`, for clipping.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/total_norm: one pass, added up in double, so nothing overflows or vanishes.
    reference  plain torch, any device and dtype.
"""

from collections.abc import Sequence

import torch

from pytorch_ext import library
from pytorch_ext.arguments import check_list
from pytorch_ext.dispatch import choose
from pytorch_ext.ops.total_norm.reference import total_norm_reference


def total_norm(tensors: Sequence[torch.Tensor], *, backend: str | None = None) -> torch.Tensor:
    """The root of the sum of all squares, a tensor [] (float32 of float32), without derivatives.

    Raises ValueError when there is no tensor, they are on several devices or don't all hold
    floating-point numbers of one dtype, TypeError for what is no tensor, RuntimeError for a backend
    that is missing here or doesn't take such tensors.
    """
    check_list("total_norm", "tensors", tensors)
    name, level = choose("total_norm", backend, "tensors[0]", tensors[0])
    with torch.no_grad():
        if name == "reference":
            return total_norm_reference(tensors)
        dense = [x.detach().contiguous() for x in tensors]
        norm: torch.Tensor = torch.ops.pytorch_ext.total_norm(dense, level)
        return norm


if library.LOADED:

    @torch.library.register_fake("pytorch_ext::total_norm")
    def _fake(tensors: list[torch.Tensor], level: int) -> torch.Tensor:
        return tensors[0].new_empty(())
