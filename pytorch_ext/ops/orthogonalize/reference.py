"""Orthogonalisation in plain torch: three Newton–Schulz steps, in products of the storage type.

A step is x ← (a I + b R + c R²) x with R = x xᵀ, which makes of each singular value σ the odd
quintic a σ + b σ³ + c σ⁵. Its coefficients are Polar Express's (Amsel et al. 2025,
arXiv:2505.16932): each step's polynomial is the one nearest to 1 on what the steps before it make
of [SMALLEST, 1].

Legend: G matrices, K × N with K ≤ N.
"""

import torch

__all__ = ["SMALLEST", "STEPS", "orthogonalize_reference"]

# Singular values from here to 1 end in [0.7, 1.3]; smaller ones grow 76 times. They are relative to
# the fourth root of the sum of their fourth powers, which is at least the largest one.
SMALLEST = 0.01

# (a, b, c) of each step. Every interval is taken 2% longer than exact arithmetic needs, for what
# bfloat16 rounds off. A test fits them again.
STEPS = (
    (7.942392, -22.287309, 15.823868),
    (3.587512, -2.584461, 0.489344),
    (2.660379, -1.913439, 0.419422),
)

LEAST = 1e-37  # below float32's ordinary numbers nothing is scaled up any further


def orthogonalize_reference(x_GMN: torch.Tensor) -> torch.Tensor:
    """About U Vᵀ of each U S Vᵀ, in x's dtype."""
    if not x_GMN.numel():
        return torch.empty_like(x_GMN, memory_format=torch.contiguous_format)
    tall = x_GMN.shape[1] > x_GMN.shape[2]
    x_GKN = _of_ordinary_size(x_GMN.mT if tall else x_GMN)

    for step, (a, b, c) in enumerate(STEPS):
        gram_GKK = torch.bmm(x_GKN, x_GKN.mT)
        if step == 0:
            # The Frobenius norm of x xᵀ bounds its eigenvalues. That of x would do so for the
            # singular values, but the higher the rank, the worse.
            wide = torch.promote_types(x_GKN.dtype, torch.float32)
            bound_G11 = gram_GKK.to(wide).norm(dim=(1, 2), keepdim=True)
            bound_G11 = bound_G11.where(bound_G11 != 0, 1.0)
            gram_GKK = (gram_GKK / bound_G11).to(x_GKN.dtype)
            x_GKN = (x_GKN * bound_G11.rsqrt()).to(x_GKN.dtype)

        polynomial_GKK = torch.baddbmm(gram_GKK, gram_GKK, gram_GKK, beta=b, alpha=c)
        x_GKN = torch.baddbmm(x_GKN, polynomial_GKK, x_GKN, beta=a)

    return (x_GKN.mT if tall else x_GKN).contiguous()


def _of_ordinary_size(x_GKN: torch.Tensor) -> torch.Tensor:
    """Each matrix times a power of two, which loses nothing, so that products neither overflow nor
    vanish.
    """
    largest_G11 = torch.linalg.vector_norm(x_GKN, ord=torch.inf, dim=(1, 2), keepdim=True)
    wide_G11 = largest_G11.to(torch.promote_types(x_GKN.dtype, torch.float32))
    exponent_G11 = torch.frexp(wide_G11.clamp(LEAST, 1 / LEAST)).exponent
    return x_GKN * torch.exp2(-exponent_G11).to(x_GKN.dtype)
