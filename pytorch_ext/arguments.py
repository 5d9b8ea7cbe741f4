"""What every operator asks of its arguments before it looks at shapes: tensors, on one device, of
floating point; numbers that are numbers.
"""

from numbers import Real
from typing import Any

import torch

__all__ = ["check_floating", "check_number", "check_tensors"]


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
