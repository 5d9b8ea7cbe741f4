"""Weights in the dtype that products are computed in, cast once for each optimizer step.

Parameters are float32; a product takes them in bfloat16. Cast where they are used, they would be
cast again in every micro-batch and evaluation. Here the copy is held until the parameter changes,
which its version says (torch counts every write in place), together with the memory it stands in
(`p.data = …`, load_state_dict(assign=True) and `.to()` exchange that and count nothing).

A copy lives beside the parameter, not in it: it is in no state_dict, pickle or deepcopy, and it
dies with the parameter. Those of several matrices can lie in one piece of memory, one matrix's rows
after the other's, so that one product serves them all.

Two kinds of writes are not counted by torch. Fused optimizers: a hook after each optimizer's step
counts for them. Writes into `p.data`, and kernels called past autograd: whoever does that calls
torch.autograd.graph.increment_version(p), or refreshed(p) having written the copy as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["cached_copy", "held_copy", "joint_copy", "refreshed", "working_copy"]


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
    """The copy of ``p`` alone, without a derivative. None where none is held: ``p`` has the dtype
    already, is no plain parameter, or a transform, a trace or a mode of torch is on.
    """
    return joint_copy((p,), dtype)


def joint_copy(parameters: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor | None:
    """The copies of matrices [R_i, C] as one matrix [ΣR, C], or of a single parameter of any shape;
    None as for cached_copy.
    """
    if not all([_can_hold(p, dtype) for p in parameters]):
        return None
    held = [_HELD.get(p) for p in parameters]
    if _adjoin(held, parameters, dtype):
        for p, one in zip(parameters, held, strict=True):
            if not one.is_of(p):
                _write(p, one.copy)
    else:
        held = _allocate(parameters, dtype)

    first = held[0].copy
    if len(held) == 1:
        return first
    rows = sum(p.shape[0] for p in parameters)
    return first.as_strided((rows, first.shape[1]), (first.shape[1], 1), first.storage_offset())


def held_copy(p: nn.Parameter) -> torch.Tensor | None:
    """The copy that is held now, right or not, of ``p``'s shape and contiguous: for an optimizer
    that writes it in its own pass over the weights, and then says so (refreshed). None: there is
    none, and nothing to write.
    """
    one = _HELD.get(p)
    return None if one is None or one.copy.device != p.device else one.copy


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


def _adjoin(
    held: Sequence[Held | None], parameters: Sequence[torch.Tensor], dtype: torch.dtype
) -> TypeGuard[list[Held]]:
    """Whether the copies are there, of this dtype and device, each where the one before ends."""
    place = None
    for p, one in zip(parameters, held, strict=True):
        if one is None or one.copy.dtype != dtype or one.copy.device != p.device:
            return False
        memory, offset = one.copy.untyped_storage()._cdata, one.copy.storage_offset()
        if one.copy.shape != p.shape or place not in (None, (memory, offset)):
            return False
        place = memory, offset + one.copy.numel()
    return True


def _allocate(parameters: Sequence[torch.Tensor], dtype: torch.dtype) -> list[Held]:
    """New copies, one after the other."""
    device = parameters[0].device
    with torch.inference_mode(False):  # a copy made during inference serves training, too
        memory = torch.empty(sum(p.numel() for p in parameters), dtype=dtype, device=device)
        parts = memory.split([p.numel() for p in parameters])
        copies = [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]
    for p, copy in zip(parameters, copies, strict=True):
        _write(p, copy)
    return [_HELD[p] for p in parameters]


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
