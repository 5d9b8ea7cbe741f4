"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864): `rope(x, cos, sin)`.

Plain torch: under torch.compile it is one fused loop. qk_norm_rope has it in one pass with the norm
before it.
"""

import torch

from pytorch_ext.arguments import check_floating, check_tensors
from pytorch_ext.ops.rope.reference import rope_reference


def rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate x [B, T, H, D] by position: the pair (x[i], x[i + D/2]) by the angle of cos[t, i],
    sin[t, i].

    cos, sin: [T, D/2], or [B, T, D/2] where positions differ by row (packed documents). Keep them
    in float32: an angle in bfloat16 is off by a radian at position 500. Returns x's shape and
    dtype. Raises ValueError on other shapes and integers, TypeError for what is no tensor.
    """
    check_tensors("rope", x=x, cos=cos, sin=sin)
    check_floating("rope", x=x, cos=cos, sin=sin)
    check_angles("rope", x, cos, sin)
    return rope_reference(x, cos, sin)


def check_angles(operator: str, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """ValueError unless cos and sin fit to x [B, T, H, D]."""
    if x.dim() != 4 or x.shape[-1] % 2:
        raise ValueError(f"{operator}: x is {list(x.shape)}; [B, T, H, D] with an even D expected")
    batch, length, _, dim = x.shape
    if cos.shape != sin.shape or cos.shape not in ((length, dim // 2), (batch, length, dim // 2)):
        raise ValueError(
            f"{operator}: cos {list(cos.shape)}, sin {list(sin.shape)}; {[length, dim // 2]} or "
            f"{[batch, length, dim // 2]} expected"
        )
