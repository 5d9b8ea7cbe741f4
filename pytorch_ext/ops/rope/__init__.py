"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864): `rope(x, cos, sin)`.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/rope: one pass forward; backward is the same by the opposite angles.
    reference  plain torch, any device and dtype; under torch.compile one fused loop.

qk_norm_rope has it in one pass with the norm before it.
"""

import torch

from pytorch_ext.arguments import check_floating, check_tensors
from pytorch_ext.dispatch import choose
from pytorch_ext.ops.rope.native import rope_native
from pytorch_ext.ops.rope.reference import rope_reference


def rope(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, backend: str | None = None
) -> torch.Tensor:
    """Rotate x [B, T, H, D] by position: the pair (x[i], x[i + D/2]) by the angle of cos[t, i],
    sin[t, i].

    cos, sin: [T, D/2], or [B, T, D/2] where positions differ by row (packed documents). Keep them
    in float32: an angle in bfloat16 is off by a radian at position 500. x of any strides; computed
    in at least float32, returned in x's shape and dtype.

    Raises ValueError on other shapes and integers, TypeError for what is no tensor, RuntimeError
    for a backend that is missing here or doesn't take such tensors.
    """
    check_tensors("rope", x=x, cos=cos, sin=sin)
    check_floating("rope", x=x, cos=cos, sin=sin)
    check_angles("rope", x, cos, sin)

    name, level = choose("rope", backend, "x", x)
    if name == "reference":
        return rope_reference(x, cos, sin)
    return rope_native(x, cos, sin, level)


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
