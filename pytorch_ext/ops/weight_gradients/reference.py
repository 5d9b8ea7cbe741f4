"""Gradients of weights in plain torch."""

from collections.abc import Sequence

import torch


def weight_gradients_reference(
    x_NC: torch.Tensor, gradients: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """gᵀ x of each g [N, R], multiplied and summed in at least float32."""
    dtype = torch.promote_types(x_NC.dtype, torch.float32)
    return [g_NR.to(dtype).t() @ x_NC.to(dtype) for g_NR in gradients]
