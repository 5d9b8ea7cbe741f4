"""Cross-entropy of a linear head without its logits: `linear_cross_entropy(x, weight, target)`.

The logits of a language model, N x V floats, are by far its largest tensor; no backend but the
reference ever holds them.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/linear_cross_entropy: tiles of logits that stay in the cache.
    chunked    torch's operators on a chunk of rows at a time, any device and dtype.
    triton     the same chunks on a GPU, one Triton kernel for all between their products.
    reference  plain torch: the specification.

Legend: N rows, C width, V vocabulary.
"""

from typing import Any

import torch

from pytorch_ext.arguments import check_floating, check_number, check_tensors
from pytorch_ext.dispatch import choose
from pytorch_ext.ops.linear_cross_entropy.chunked import linear_cross_entropy_chunked
from pytorch_ext.ops.linear_cross_entropy.native import linear_cross_entropy_native
from pytorch_ext.ops.linear_cross_entropy.reference import linear_cross_entropy_reference
from pytorch_ext.transforms import takes_reference

REDUCTIONS = ("mean", "sum")


def linear_cross_entropy(
    x: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    ignore_index: int = -100,
    *,
    reduction: str = "mean",
    z_loss: float = 0.0,
    softcap: float | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Cross-entropy of softmax(x weight^T) against target: a scalar, float32 (float64 for float64
    inputs).

    x: [N, C]; weight: [V, C], taken as x's dtype where it differs, its gradient in its own; target:
        int64 [N], each in [0, V) or ignore_index.
    reduction: "mean" over the targets that are not ignored, or "sum". When all are ignored both are
        0, with zero gradients (torch's own mean is NaN there): a batch of nothing teaches nothing.
    z_loss: z adds z (log-sum-exp of the logits)^2 to the loss of each row (PaLM, Chowdhery et al.
        2022, arXiv:2204.02311, section 5: 1e-4).
    softcap: c bounds the logits l first, c tanh(l / c) (Gemma 2, arXiv:2408.00118: 30).
    backend: None, "cpu", "triton", "chunked" or "reference", which holds all N x V logits.

    Raises TypeError for what is no tensor or number, ValueError for shapes, dtypes, devices,
    numbers that mean nothing and, on the CPU, targets out of range (a device assertion on CUDA, a
    RuntimeError of the cpu backend under torch.compile), RuntimeError for a backend that is missing
    here or doesn't take such tensors.
    """
    _check(x, weight, target, reduction)
    _check_numbers(ignore_index, z_loss, softcap)
    name, level = choose("linear_cross_entropy", backend, "x", x)
    options = (ignore_index, reduction == "mean", float(z_loss), float(softcap or 0.0))
    if name == "reference" or takes_reference():
        return linear_cross_entropy_reference(x, weight, target, *options)
    if name in ("chunked", "triton"):
        by_triton = name == "triton"
        return linear_cross_entropy_chunked(x, weight.to(x.dtype), target, *options, by_triton)
    return linear_cross_entropy_native(x, weight, target, *options, level)


def _check(x: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, reduction: str) -> None:
    check_tensors("linear_cross_entropy", x=x, weight=weight, target=target)
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"linear_cross_entropy: x {list(x.shape)}, weight {list(weight.shape)}; "
            "[N, C] and [V, C] expected"
        )

    if target.dtype != torch.int64 or target.dim() != 1 or target.shape[0] != x.shape[0]:
        raise ValueError(
            f"linear_cross_entropy: target is {target.dtype} {list(target.shape)}; "
            f"int64 {[x.shape[0]]} expected"
        )

    check_floating("linear_cross_entropy", x=x, weight=weight)
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"linear_cross_entropy: reduction {reduction!r} is not one of {', '.join(REDUCTIONS)}"
        )


def _check_numbers(ignore_index: Any, z_loss: Any, softcap: Any) -> None:
    if not isinstance(ignore_index, int):
        raise TypeError(
            f"linear_cross_entropy: ignore_index is a {type(ignore_index).__name__}; int expected"
        )
    check_number("linear_cross_entropy", "z_loss", z_loss)
    if not 0 <= z_loss < float("inf"):
        raise ValueError(f"linear_cross_entropy: z_loss is {z_loss}; a number from 0 on expected")
    if softcap is None:
        return

    check_number("linear_cross_entropy", "softcap", softcap)
    if not 0 < softcap < float("inf"):
        raise ValueError(
            f"linear_cross_entropy: softcap is {softcap}; a number above 0 or None expected"
        )
