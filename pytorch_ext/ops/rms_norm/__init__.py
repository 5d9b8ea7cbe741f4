"""Root-mean-square norm (Zhang & Sennrich 2019, arXiv:1910.07467), alone or with the residual added
first: `rms_norm(x, weight, eps, residual=...)`.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/rms_norm: one pass forward, one backward, the addition in both.
    triton     rms_norm_triton.py: one launch forward, one backward and a small sum, on a GPU.
    reference  plain torch, any device and dtype; under torch.compile one fused loop.
"""

from typing import overload

import torch

from pytorch_ext.arguments import check_floating, check_number, check_tensors
from pytorch_ext.autocast import as_the_widest
from pytorch_ext.dispatch import choose
from pytorch_ext.ops.rms_norm.native import add_rms_norm_native, rms_norm_native
from pytorch_ext.ops.rms_norm.reference import add_rms_norm_reference, rms_norm_reference


@overload
def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = ...,
    eps: float = ...,
    *,
    residual: None = ...,
    backend: str | None = ...,
) -> torch.Tensor: ...


@overload
def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = ...,
    eps: float = ...,
    *,
    residual: torch.Tensor,
    backend: str | None = ...,
) -> tuple[torch.Tensor, torch.Tensor]: ...


def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    eps: float = 1e-6,
    *,
    residual: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Normalise the last dimension of x [..., C] by its root mean square, then scale by weight [C]
    (None: by one).

    residual: of x's shape and dtype. Given, x + residual is normalised, and (norm, x + residual)
        are returned: the residual stream goes on from the sum.

    Computed in at least float32, returned in x's dtype; any strides. Raises ValueError when weight
    or residual doesn't fit or x holds no floating-point numbers, TypeError for what is no tensor or
    number, RuntimeError for a backend that is missing here or doesn't take such tensors.
    """
    optional = {"weight": weight, "residual": residual}
    given = {"x": x} | {name: tensor for name, tensor in optional.items() if tensor is not None}
    check_tensors("rms_norm", **given)
    check_floating("rms_norm", **given)
    check_number("rms_norm", "eps", eps)
    if x.dim() == 0:
        raise ValueError("rms_norm: x is []; [..., C] expected")
    if weight is not None and (weight.dim() != 1 or weight.shape[0] != x.shape[-1]):
        raise ValueError(
            f"rms_norm: weight is {list(weight.shape)}, x {list(x.shape)}; weight [C] expected"
        )
    if residual is not None:
        x, residual = as_the_widest(x, residual)
        if residual.shape != x.shape or residual.dtype != x.dtype:
            raise ValueError(
                f"rms_norm: residual is {residual.dtype} {list(residual.shape)}, x {x.dtype} "
                f"{list(x.shape)}; the same expected"
            )

    name, level = choose("rms_norm", backend, "x", x)
    if residual is None:
        if name == "reference":
            return rms_norm_reference(x, weight, eps)
        return rms_norm_native(x, weight, eps, level)

    if name == "reference":
        return add_rms_norm_reference(x, residual, weight, eps)
    normed, total = add_rms_norm_native(x, residual, weight, eps, level)
    return normed, total
