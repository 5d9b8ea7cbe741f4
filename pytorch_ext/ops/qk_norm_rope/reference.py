"""RMS-norm and rotation of query and key heads in plain torch."""

import torch

from pytorch_ext.ops.rms_norm.reference import rms_norm_reference
from pytorch_ext.ops.rope.reference import rope_reference


def qk_norm_rope_reference(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    q_weight_D: torch.Tensor,
    k_weight_D: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """rope(rms_norm(x, weight, eps), cos, sin) of queries and of keys, computed in at least float32
    from end to end, in their dtype: one rounding.
    """
    wide = torch.promote_types(q_BTHD.dtype, torch.float32)
    q, k = (
        rope_reference(rms_norm_reference(x.to(wide), weight, eps), cos, sin).to(x.dtype)
        for x, weight in ((q_BTHD, q_weight_D), (k_BTKD, k_weight_D))
    )
    return q, k
