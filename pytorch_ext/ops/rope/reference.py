"""Rotary position embedding in plain torch, in the half-split layout of Llama and Qwen
checkpoints.
"""

import torch


def rope_reference(x_BTHD: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs (x[i], x[i + D/2]) by the angle whose cosine and sine are cos[t, i], sin[t,
    i].

    Computed in at least float32, in x's dtype. cos, sin: [T, D/2] or [B, T, D/2].
    """
    wide = torch.promote_types(x_BTHD.dtype, torch.float32)
    first, second = x_BTHD.to(wide).chunk(2, dim=-1)
    cos, sin = cos.to(wide).unsqueeze(-2), sin.to(wide).unsqueeze(-2)  # one angle for every head
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(
        x_BTHD.dtype
    )
