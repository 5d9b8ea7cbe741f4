"""torch.autocast's rules for the operators, which it doesn't know by itself: where products are
most of the work inputs become its dtype, as for torch's own linear and
scaled_dot_product_attention; where numbers pass through one by one, inputs that differ become the
widest, as for torch.cat.

Without autocast nothing is cast: inputs that differ are an error there.
"""

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["as_for_products", "as_the_widest", "without_autocast"]

KINDS = ("cpu", "cuda", "mps", "xpu")  # others, such as meta, have no autocast to ask for


def as_for_products(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """In autocast's dtype where it is on; float64 stays, as it does in torch."""
    kind = tensors[0].device.type
    if not _is_on(kind):
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    return tuple(
        x.to(dtype) if x.is_floating_point() and x.dtype != torch.float64 else x for x in tensors
    )


def as_the_widest(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """In the widest of their dtypes where autocast is on."""
    if not _is_on(tensors[0].device.type):
        return tensors
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = torch.promote_types(dtype, x.dtype)
    return tuple(x.to(dtype) for x in tensors)


def without_autocast(x: torch.Tensor) -> AbstractContextManager[object]:
    """For products that are to be computed in the dtype they are given in."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if _is_on(kind) else nullcontext()


def _is_on(kind: str) -> bool:
    return kind in KINDS and torch.is_autocast_enabled(kind)
