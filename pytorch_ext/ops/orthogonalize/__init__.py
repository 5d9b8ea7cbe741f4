"""The nearest semi-orthogonal matrix, about: `orthogonalize(x)`, which makes Muon's updates (Jordan
et al. 2024) of momentum.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/orthogonalize: a matrix stays in one core's cache, half of every symmetric
               product is computed.
    reference  plain torch, batched products; any device and dtype.
"""

import torch

from pytorch_ext.arguments import check_floating, check_tensors
from pytorch_ext.dispatch import choose
from pytorch_ext.ops.orthogonalize.native import orthogonalize_native
from pytorch_ext.ops.orthogonalize.reference import orthogonalize_reference


def orthogonalize(x: torch.Tensor, *, backend: str | None = None) -> torch.Tensor:
    """About U Vᵀ of each matrix U S Vᵀ in x [G, M, N]: dense, in x's dtype.

    Singular values of at least 0.01 end between 0.7 and 1.3, smaller ones grow 76 times, both as a
    part of the fourth root of the sum of all their fourth powers, which is at least the largest
    one. The result doesn't depend on x's scale, zeros stay zeros, and NaN or infinity make NaN of
    their own matrix alone. Any strides; no derivatives.

    Raises ValueError when x is no batch of matrices, holds no floating-point numbers or is to be
    differentiated, TypeError for what is no tensor, RuntimeError for a backend that is missing here
    or doesn't take such a tensor.
    """
    check_tensors("orthogonalize", x=x)
    check_floating("orthogonalize", x=x)
    if x.dim() != 3:
        raise ValueError(f"orthogonalize: x is {list(x.shape)}; [G, M, N] expected")
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError("orthogonalize: x requires a gradient, and there is none; detach it")

    name, level = choose("orthogonalize", backend, "x", x)
    if name == "reference":
        return orthogonalize_reference(x)
    return orthogonalize_native(x, level)
