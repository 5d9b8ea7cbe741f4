"""Which backends every operator has, and the choice among them: the one table of the project.

The table is data and needs no torch, so that the config can check `train.attention` against it in
milliseconds. An operator asks `choose` which backend to run. A backend that was named but cannot
run here is an error that says what is missing; nothing falls back silently.

A new backend is one row here and one file in ops/<operator>/ (docs/OPERATORS.md).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

__all__ = [
    "BEST",
    "LEVELS",
    "TABLE",
    "TRITON",
    "VECTORS",
    "Backend",
    "backends",
    "choose",
    "spellings",
    "taken",
]

LEVELS = ("portable", "avx2", "avx512", "avx512bf16", "amx")  # the order of snakelm::Isa in csrc
VECTORS = LEVELS[:-1]  # of kernels that have no tiles
BEST = -1  # the level that stands for "the best this CPU has"
TRITON = -2  # in a level's place: no compiled kernel but Triton's
ANY = "any other"  # in default_on: every device that no row of the operator names

# Found out once, at import: torch.compile must not meet these calls. Nothing is loaded.
HAS_TRITON = importlib.util.find_spec("triton") is not None
# Triton's interpreter, for tests, takes tensors where there is no GPU.
TRITON_DEVICES = ("cuda", "cpu") if os.environ.get("TRITON_INTERPRET") == "1" else ("cuda",)


def _compiled() -> str | None:
    from pytorch_ext import library

    return None if library.LOADED else f"needs {library.LIBRARY.name}, not built; {library.REMEDY}"


def _compiled_with_cuda() -> str | None:
    from pytorch_ext import library

    if not library.LOADED or library.HAS_CUDA:
        return _compiled()
    return (
        "is not in this build, there was no nvcc; put nvcc on PATH and run "
        "`python setup.py build_ext --inplace`"
    )


def _triton() -> str | None:
    if HAS_TRITON:
        return None
    return (
        "needs the package triton, which is not installed; `pip install 'triton>=3.6,<3.8'` "
        "(Linux), or pass backend='reference'"
    )


@dataclass(frozen=True)
class Backend:
    """One row: what an implementation is called, what it takes, and what it needs to run."""

    name: str
    devices: tuple[str, ...] = ()  # types of device whose tensors it takes; empty: all
    dtypes: tuple[str, ...] = ()  # as in torch.<dtype>; empty: every floating-point one
    levels: tuple[str, ...] = ()  # instruction sets that `name:level` can insist on
    default_on: tuple[str, ...] = ()  # devices where it runs unless another one is named
    missing: Callable[[], str | None] | None = None  # why it cannot run here, and the remedy


REFERENCE = Backend("reference", default_on=("cpu", ANY))
COMPILED = Backend(
    "cpu",
    devices=("cpu",),
    dtypes=("float32", "bfloat16"),
    levels=LEVELS,
    default_on=("cpu",),
    missing=_compiled,
)
# On a GPU by Triton's kernels, which are compiled when they are first launched.
TRITON_KERNELS = Backend(
    "triton",
    devices=TRITON_DEVICES,
    dtypes=("float32", "bfloat16", "float16"),
    default_on=("cuda",),
    missing=_triton,
)
# Forward and backward in one pass each.
PASSES = (replace(COMPILED, levels=VECTORS), TRITON_KERNELS, REFERENCE)
# Products of bfloat16, on tiles where there are any.
TILED = (replace(COMPILED, dtypes=("bfloat16",)), REFERENCE)
# The optimizer's: weights and what belongs to them are float32.
UPDATES = (replace(COMPILED, dtypes=("float32",), levels=VECTORS), REFERENCE)

# Where several rows are a default on one device, the first whose dtypes fit is taken.
TABLE: dict[str, tuple[Backend, ...]] = {
    "adamw_step": UPDATES,
    "attention": (
        COMPILED,
        TRITON_KERNELS,
        # Not a default: checked by emulation, never timed on a GPU.
        Backend(
            "cuda",
            devices=("cuda",),
            dtypes=("float32", "bfloat16", "float16"),
            missing=_compiled_with_cuda,
        ),
        Backend("sdpa", default_on=(ANY,)),
        Backend("reference", default_on=("cpu",)),
    ),
    "linear_cross_entropy": (
        COMPILED,
        TRITON_KERNELS,
        Backend("chunked", default_on=("cpu", ANY)),
        Backend("reference"),
    ),
    "muon_step": UPDATES,
    "orthogonalize": TILED,
    "qk_norm_rope": PASSES,
    "rms_norm": PASSES,
    "rope": (PASSES[0], REFERENCE),
    "swiglu": PASSES,
    "total_norm": UPDATES,
    "weight_gradients": TILED,
}


def backends(operator: str) -> tuple[str, ...]:
    """Names of the operator's backends, here or not, without instruction sets: what a config may
    say besides `auto`.
    """
    return tuple(backend.name for backend in TABLE[operator])


def spellings(operator: str) -> tuple[str, ...]:
    """All that the operator's `backend` argument takes: names, and `cpu:avx2` and the like."""
    return tuple(
        spelling
        for backend in TABLE[operator]
        for spelling in (backend.name, *(f"{backend.name}:{level}" for level in backend.levels))
    )


class Placed(Protocol):
    """What the choice depends on; every tensor is one."""

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...


class Placeholder(NamedTuple):
    """In the place of a tensor that isn't there yet."""

    device: torch.device
    dtype: torch.dtype


def choose(
    operator: str, requested: str | None, tensor_name: str, tensor: Placed
) -> tuple[str, int]:
    """(name of the backend to run, its instruction set as an index into LEVELS, or BEST, or
    TRITON).

    requested: one of `spellings`, or None for the default of the tensor's device and dtype. The
    tensor stands for all inputs: one device and dtype. Raises ValueError for an unknown name,
    RuntimeError for a backend that cannot run here or does not take such tensors.
    """
    device, dtype = tensor.device.type, str(tensor.dtype).removeprefix("torch.")
    backend = _default(operator, device, dtype)
    if requested is not None:
        if requested not in spellings(operator):
            known = ", ".join(spellings(operator))
            raise ValueError(f"{operator}: backend {requested!r} is not one of {known}")
        name = requested.partition(":")[0]
        backend = next(row for row in TABLE[operator] if row.name == name)

    label = f"{operator}: backend {requested or backend.name!r}"
    if backend.missing is not None and (reason := backend.missing()) is not None:
        raise RuntimeError(f"{label} {reason}")
    if backend.devices and device not in backend.devices:
        wanted = " or ".join(backend.devices)
        raise RuntimeError(f"{label} takes {wanted} tensors; {tensor_name} is on {tensor.device}")
    if backend.dtypes and dtype not in backend.dtypes:
        wanted = ", ".join(backend.dtypes)
        raise RuntimeError(f"{label} takes {wanted}; {tensor_name} is {tensor.dtype}")

    level = (requested or "").partition(":")[2]
    if level:
        return backend.name, _level_index(label, level)
    return backend.name, TRITON if backend.name == "triton" else BEST


def taken(operator: str, requested: str | None, device: torch.device, dtype: torch.dtype) -> str:
    """What `choose` takes for tensors on ``device`` of ``dtype``, in full: where it says BEST, the
    best instruction set that this CPU has and the backend is compiled for (`cpu:avx512bf16`). Runs
    nothing; raises what `choose` does.
    """
    from pytorch_ext import library

    name, level = choose(operator, requested, "a tensor", Placeholder(device, dtype))
    compiled = next(row.levels for row in TABLE[operator] if row.name == name)
    if not compiled:
        return name
    if level == BEST:
        level = max(i for i in library.LEVELS_HERE if LEVELS[i] in compiled)
    return f"{name}:{LEVELS[level]}"


def _default(operator: str, device: str, dtype: str) -> Backend:
    for where in (device, ANY):
        for backend in TABLE[operator]:
            if where in backend.default_on and (not backend.dtypes or dtype in backend.dtypes):
                return backend
    raise RuntimeError(f"{operator}: no backend is the default for {dtype} tensors on {device}")


def _level_index(label: str, level: str) -> int:
    from pytorch_ext import library

    index = LEVELS.index(level)
    if index not in library.LEVELS_HERE:
        here = ", ".join(LEVELS[i] for i in library.LEVELS_HERE)
        raise RuntimeError(
            f"{label} needs the instruction set {level}, which this CPU or build lacks; "
            f"here: {here}"
        )
    return index
