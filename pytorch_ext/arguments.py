"""What every operator asks of its arguments before it looks at shapes: tensors, on one device, of
floating point; numbers that are numbers.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch

__all__ = [
    "check_dense",
    "check_floating",
    "check_like",
    "check_list",
    "check_number",
    "check_tensors",
]


def check_tensors(operator: str, **arguments: Any) -> None:
    """TypeError for what is no tensor, ValueError for tensors on another device than the first."""
    first = next(iter(arguments))
    for name, x in arguments.items():
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{operator}: {name} is a {type(x).__name__}; a torch.Tensor expected")
        if x.device != arguments[first].device:
            raise ValueError(
                f"{operator}: {name} is on {x.device}, {first} on {arguments[first].device}; "
                "the same expected"
            )


def check_floating(operator: str, **tensors: torch.Tensor) -> None:
    """ValueError for integers, booleans and complex numbers."""
    for name, x in tensors.items():
        if not x.dtype.is_floating_point:
            raise ValueError(f"{operator}: {name} is {x.dtype}; floating point expected")


def check_number(operator: str, name: str, value: Any) -> None:
    """TypeError for what is no real number; what torch traces as one is."""
    if not isinstance(value, Real | torch.SymFloat | torch.SymInt):
        raise TypeError(f"{operator}: {name} is a {type(value).__name__}; a number expected")


def check_list(operator: str, name: str, tensors: Sequence[Any]) -> None:
    """That there is a tensor at least, and that all are of one device and floating-point dtype."""
    if not len(tensors):
        raise ValueError(f"{operator}: {name} is empty; at least one tensor expected")
    if all(is_like(x, tensors[0]) for x in tensors) and tensors[0].dtype.is_floating_point:
        return  # without names for what nobody will read: an optimizer's lists are long
    named = {f"{name}[{i}]": x for i, x in enumerate(tensors)}
    check_tensors(operator, **named)
    check_floating(operator, **named)
    for place, x in named.items():
        if x.dtype != tensors[0].dtype:
            raise ValueError(
                f"{operator}: {place} is {x.dtype}, {name}[0] {tensors[0].dtype}; the same expected"
            )


def check_like(
    operator: str,
    name: str,
    tensors: Sequence[Any],
    models: Sequence[torch.Tensor],
    dtype: torch.dtype | None = None,
) -> None:
    """That there is a tensor, or None if a dtype is given, for each of `models`: of its shape and
    device, and of its dtype or the given one.
    """
    if len(tensors) != len(models):
        raise ValueError(f"{operator}: {len(tensors)} {name}; {len(models)} expected")
    for i, (x, model) in enumerate(zip(tensors, models, strict=True)):
        if x is None and dtype is not None:
            continue
        if is_like(x, model, dtype) and x.shape == model.shape:
            continue
        check_tensors(operator, model=model, **{f"{name}[{i}]": x})
        raise ValueError(
            f"{operator}: {name}[{i}] is {x.dtype} {list(x.shape)}; "
            f"{dtype or model.dtype} {list(model.shape)} expected"
        )


def is_like(x: Any, model: Any, dtype: torch.dtype | None = None) -> bool:
    """Whether both are tensors of one device, and x of model's dtype or the given one."""
    if not (isinstance(x, torch.Tensor) and isinstance(model, torch.Tensor)):
        return False
    return x.dtype == (dtype or model.dtype) and x.device == model.device


def check_dense(operator: str, **lists: Sequence[torch.Tensor | None]) -> None:
    """ValueError for what is to be written in place and isn't contiguous."""
    for name, tensors in lists.items():
        if not all(x is None or x.is_contiguous() for x in tensors):
            raise ValueError(f"{operator}: {name} are written in place; contiguous ones expected")
