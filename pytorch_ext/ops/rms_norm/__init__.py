"""Root-mean-square norm (Zhang & Sennrich 2019, arXiv:1910.07467): `rms_norm(x, weight, eps)`.

Plain torch for now: under torch.compile it is one fused loop.
"""

import torch

from pytorch_ext.arguments import check_floating, check_number, check_tensors
from pytorch_ext.ops.rms_norm.reference import rms_norm_reference


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor | None = None, eps: float = 1e-6
) -> torch.Tensor:
    """Normalise the last dimension of x [..., C] by its root mean square, then scale by weight [C]
    (None: by one).

    Computed in at least float32, returned in x's dtype. Raises ValueError when weight does not fit
    or x holds no floating-point numbers, TypeError for what is no tensor or number.
    """
    given = {"x": x} if weight is None else {"x": x, "weight": weight}
    check_tensors("rms_norm", **given)
    check_floating("rms_norm", **given)
    check_number("rms_norm", "eps", eps)
    if x.dim() == 0:
        raise ValueError("rms_norm: x is []; [..., C] expected")
    if weight is not None and (weight.dim() != 1 or weight.shape[0] != x.shape[-1]):
        raise ValueError(
            f"rms_norm: weight is {list(weight.shape)}, x {list(x.shape)}; weight [C] expected"
        )
    return rms_norm_reference(x, weight, eps)
