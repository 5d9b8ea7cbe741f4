"""What every backend of linear_cross_entropy asks of the targets."""

import torch
from torch._subclasses import FakeTensor


def check_range(target: torch.Tensor, kept: torch.Tensor, vocabulary: int) -> None:
    """ValueError for a kept target out of [0, vocabulary); off the CPU the device asserts."""
    fits = ((target >= 0) & (target < vocabulary)) | ~kept
    if target.device.type != "cpu":  # reading the answer would stall the queue
        torch._assert_async(fits.all(), "linear_cross_entropy: a target is out of range")
    elif not isinstance(fits, FakeTensor) and not bool(fits.all()):  # a fake has no values
        wrong = target[~fits][0].item()
        raise ValueError(
            f"linear_cross_entropy: target {wrong} is out of range; [0, {vocabulary}) expected"
        )


def share_of_a_row(kept: torch.Tensor, mean: bool, dtype: torch.dtype) -> torch.Tensor:
    """One over the divisor, as a tensor: reading it would stall the queue on CUDA."""
    if mean:
        return 1.0 / kept.sum().clamp(min=1).to(dtype)
    return torch.ones((), dtype=dtype, device=kept.device)
