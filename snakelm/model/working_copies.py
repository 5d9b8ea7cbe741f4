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

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim.optimizer import register_optimizer_step_post_hook

__all__ = ["cached_copy", "held_copy", "is_plain", "refreshed", "working_copy"]


@dataclass
class Held:
    """A parameter's copy, and what the parameter was when it was made."""

    parameter: weakref.ref[torch.Tensor]
    copy: torch.Tensor
    version: int
    # Weak, so that memory which the parameter has left is free. The reference still keeps its
    # number from being given to another one, as an address would be.
    memory: StorageWeakRef
    offset: int

    def is_of(self, p: torch.Tensor) -> bool:
        """Whether the parameter is still that, and the copy right."""
        return self.version == p._version and self.is_at(p.untyped_storage(), p.storage_offset())

    def is_at(self, storage: torch.UntypedStorage, offset: int | torch.SymInt) -> bool:
        """Whether the parameter still stands there."""
        return self.memory.cdata == storage._cdata and self.offset == offset

    def fits(self, p: torch.Tensor, dtype: torch.dtype) -> bool:
        """Whether the copy's memory can take the parameter as it is now."""
        copy = self.copy
        return copy.dtype == dtype and copy.device == p.device and copy.shape == p.shape


# By the parameter's id. torch's own dictionary of weak keys takes ten times as long to look one up,
# and a step looks dozens up.
_HELD: dict[int, Held] = {}


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
    one = _held_of(p)
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
    one = _held_of(p)
    return one.copy if one is not None and one.fits(p, one.copy.dtype) else None


def refreshed(*parameters: nn.Parameter) -> None:
    """All of them and their held copies have been written: the copies are right as they are."""
    held = [(p, one) for p in parameters if (one := _held_of(p)) is not None]
    torch.autograd.graph.increment_version([*parameters, *(one.copy for _, one in held)])
    for p, one in held:
        _hold(p, one.copy)


class _Cast(torch.autograd.Function):
    """The held copy as a function of its parameter."""

    @staticmethod
    def forward(ctx: Any, p: torch.Tensor, copy: torch.Tensor) -> torch.Tensor:
        ctx.dtype = p.dtype
        return copy.detach()  # a tensor of its own: the held one takes part in no graph

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad.to(ctx.dtype), None


def is_plain(p: torch.Tensor) -> bool:
    """Whether ``p`` is a parameter like any other, and no transform, trace or mode of torch is on:
    what it is multiplied with may then go past torch's own products.
    """
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0  # fake tensors, counters of operations
        or type(p) is not nn.Parameter
        or p.is_inference()
    )


def _can_hold(p: torch.Tensor, dtype: torch.dtype) -> bool:
    if not is_plain(p):
        return False
    if p.dtype == dtype:
        _HELD.pop(id(p), None)  # it may have had another one
        return False
    return True


@torch.no_grad()
def _write(p: torch.Tensor, copy: torch.Tensor) -> None:
    copy.copy_(p)
    _hold(p, copy)


def _held_of(p: torch.Tensor) -> Held | None:
    one = _HELD.get(id(p))
    return one if one is not None and one.parameter() is p else None


def _hold(p: torch.Tensor, copy: torch.Tensor) -> None:
    """``copy`` is ``p`` as it is now."""
    number, storage, offset = id(p), p.untyped_storage(), int(p.storage_offset())
    one = _held_of(p)
    if one is not None and one.copy is copy and one.is_at(storage, offset):
        one.version = p._version
        return

    def forget(dead: weakref.ref[torch.Tensor]) -> None:
        if number in _HELD and _HELD[number].parameter is dead:  # not that of the next of this id
            del _HELD[number]

    parameter = weakref.ref(p, forget)
    _HELD[number] = Held(parameter, copy, p._version, StorageWeakRef(storage), offset)


def _count_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Torch's fused optimizers write their parameters and leave the versions as they were."""
    written = [p for group in optimizer.param_groups for p in group["params"] if _held_of(p)]
    torch.autograd.graph.increment_version(written)


register_optimizer_step_post_hook(_count_step)
