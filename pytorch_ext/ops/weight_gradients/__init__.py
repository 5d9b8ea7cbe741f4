"""Gradients of weights whose products read one input: `weight_gradients(x, gradients)`.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/weight_gradients: x is packed once for all of the weights, and the sums are
               the result; a product of torch rounds them to bfloat16, which is then cast back.
    reference  plain torch, any device and dtype.
"""

from collections.abc import Sequence

import torch

from pytorch_ext import library
from pytorch_ext.arguments import check_floating, check_list, check_tensors
from pytorch_ext.dispatch import choose
from pytorch_ext.ops.weight_gradients.reference import weight_gradients_reference


def weight_gradients(
    x: torch.Tensor, gradients: Sequence[torch.Tensor], *, backend: str | None = None
) -> list[torch.Tensor]:
    """gᵀ x of each g [N, R] of ``gradients`` and one x [N, C]: [R, C], in float32 (float64 of
    float64). For y = x wᵀ with the gradient g of y it is the gradient of w.

    One dtype, any strides; no derivatives.

    Raises ValueError for shapes, dtypes or devices that don't fit and for tensors that are to be
    differentiated, TypeError for what is no tensor, RuntimeError for a backend that is missing here
    or doesn't take such tensors.
    """
    check_list("weight_gradients", "gradients", gradients)
    check_tensors("weight_gradients", x=x, **{"gradients[0]": gradients[0]})
    check_floating("weight_gradients", x=x)
    if x.dim() != 2:
        raise ValueError(f"weight_gradients: x is {list(x.shape)}; [N, C] expected")
    for i, g in enumerate(gradients):
        if g.dim() != 2 or g.shape[0] != x.shape[0] or g.dtype != x.dtype:
            raise ValueError(
                f"weight_gradients: gradients[{i}] is {g.dtype} {list(g.shape)}; "
                f"{x.dtype} [{x.shape[0]}, R] expected, a row for each of x"
            )
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *gradients)):
        raise ValueError(
            "weight_gradients: x or a gradient requires a gradient, and there is none; detach it"
        )

    name, level = choose("weight_gradients", backend, "x", x)
    if name == "reference":
        return weight_gradients_reference(x, gradients)
    made: list[torch.Tensor] = torch.ops.pytorch_ext.weight_gradients(x, list(gradients), level)
    return made


if library.LOADED:

    @torch.library.register_fake("pytorch_ext::weight_gradients")
    def _fake(x: torch.Tensor, gradients: list[torch.Tensor], level: int) -> list[torch.Tensor]:
        return [x.new_empty(g.shape[1], x.shape[1], dtype=torch.float32) for g in gradients]
