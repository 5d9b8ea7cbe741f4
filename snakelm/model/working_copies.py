"""Weights in the dtype that products are computed in, cast once for each optimizer step.

Parameters are float32; a product takes them in bfloat16. Cast where they are used, they would be
cast again in every micro-batch and evaluation. Here the copy is held until the parameter changes,
which its version says (torch counts every write in place), together with the memory it stands in
(`p.data = …`, load_state_dict(assign=True) and `.to()` exchange that and count nothing).

A copy lives beside the parameter, not in it: it is in no state_dict, pickle or deepcopy, and it
dies with the parameter.

Two kinds of writes are not counted by torch. Fused optimizers: a hook after each optimizer's step
counts for them. Writes into `p.data`, and kernels called past autograd: whoever does that calls
torch.autograd.graph.increment_version(p), or refreshed(p) having written the copy as well.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["cached_copy", "held_copy", "refreshed", "working_copy"]


@dataclass
class Held:
    """A parameter's copy, and what the parameter was when it was made."""

    copy: torch.Tensor
    version: int
    # Weak, so that memory which the parameter has left is free. The reference still keeps its
    # number from being given to another one, as an address would be.
    memory: StorageWeakRef
    offset: int

    def is_of(self, p: torch.Tensor) -> bool:
        """Whether the parameter is still that, and the copy right."""
        return (
            self.version == p._version
            and self.memory.cdata == p.untyped_storage()._cdata
            and self.offset == p.storage_offset()
        )

    def fits(self, p: torch.Tensor, dtype: torch.dtype) -> bool:
        """Whether the copy's memory can take the parameter as it is now."""
        copy = self.copy
        return copy.dtype == dtype and copy.device == p.device and copy.shape == p.shape


_HELD: Any = WeakTensorKeyDictionary()  # nn.Parameter → Held


def working_copy(p: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``p.to(dtype)``, with its derivative; of a parameter the values are cast only when it has
    changed.

    Not to be written into. Once ``p`` has changed, backward through what was computed with the
    copy is torch's error about a variable modified in place, as for ``p`` itself.
    """
    copy = cached_copy(p, dtype)
    if copy is None:
        return p.to(dtype)
    return _Cast.apply(p, copy) if p.requires_grad and torch.is_grad_enabled() else copy


def cached_copy(p: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
    """The same without a derivative. None where none is held: ``p`` has the dtype already, is no
    plain parameter, or a transform, a trace or a mode of torch is on.
    """
    if not _can_hold(p, dtype):
        return None
    one = _HELD.get(p)
    if one is not None and one.fits(p, dtype):
        if not one.is_of(p):
            _write(p, one.copy)
        return one.copy

    with torch.inference_mode(False):  # a copy made during inference serves training, too
        copy = torch.empty(p.shape, dtype=dtype, device=p.device)
    _write(p, copy)
    return copy


def held_copy(p: nn.Parameter) -> torch.Tensor | None:
    """The copy that is held now, right or not, of ``p``'s shape and contiguous: for an optimizer
    that writes it in its own pass over the weights, and then says so (refreshed). None: there is
    none, and nothing to write.
    """
    one = _HELD.get(p)
    return one.copy if one is not None and one.fits(p, one.copy.dtype) else None


def refreshed(p: nn.Parameter) -> None:
    """Both ``p`` and its held copy have been written: the copy is right as it is."""
    torch.autograd.graph.increment_version(p)
    one = _HELD.get(p)
    if one is not None:
        torch.autograd.graph.increment_version(one.copy)
        _HELD[p] = _held(p, one.copy)


class _Cast(torch.autograd.Function):
    """The held copy as a function of its parameter."""

    @staticmethod
    def forward(ctx: Any, p: torch.Tensor, copy: torch.Tensor) -> torch.Tensor:
        ctx.dtype = p.dtype
        return copy.detach()  # a tensor of its own: the held one takes part in no graph

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad.to(ctx.dtype), None


def _can_hold(p: torch.Tensor, dtype: torch.dtype) -> bool:
    if (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0  # fake tensors, counters of operations
        or type(p) is not nn.Parameter
        or p.is_inference()
    ):
        return False
    if p.dtype == dtype:
        _HELD.pop(p, None)  # it may have had another one
        return False
    return True


@torch.no_grad()
def _write(p: torch.Tensor, copy: torch.Tensor) -> None:
    copy.copy_(p)
    _HELD[p] = _held(p, copy)


def _held(p: torch.Tensor, copy: torch.Tensor) -> Held:
    offset = int(p.storage_offset())
    return Held(copy, p._version, StorageWeakRef(p.untyped_storage()), offset)


def _count_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Torch's fused optimizers write their parameters and leave the versions as they were."""
    written = [p for group in optimizer.param_groups for p in group["params"] if p in _HELD]
    torch.autograd.graph.increment_version(written)


register_optimizer_step_post_hook(_count_step)
