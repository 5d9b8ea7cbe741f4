"""The norm of all numbers of several tensors in plain torch."""

from collections.abc import Sequence

import torch


def total_norm_reference(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The norm of the tensors' norms, float32 []; float64 when all tensors are."""
    return torch.nn.utils.get_total_norm(tensors, foreach=True)
