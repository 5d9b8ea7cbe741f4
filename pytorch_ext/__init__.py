"""Operators for training language models on tensors: each has a plain torch reference, and kernels
where they pay.

Knows tensors, never models. An operator is a folder below `ops`: `__init__.py` holds the public
function, its checks and its dispatch; `reference.py` is the specification that every other backend
is tested against. `dispatch.py` is the table of all backends.

The operators are imported when first used (PEP 562): the config reads `pytorch_ext.dispatch`
without the seconds that importing torch takes.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytorch_ext.ops.adamw_step import adamw_step
    from pytorch_ext.ops.attention import attention
    from pytorch_ext.ops.linear_cross_entropy import linear_cross_entropy
    from pytorch_ext.ops.muon_step import muon_step
    from pytorch_ext.ops.orthogonalize import orthogonalize
    from pytorch_ext.ops.qk_norm_rope import qk_norm_rope
    from pytorch_ext.ops.rms_norm import rms_norm
    from pytorch_ext.ops.rope import rope
    from pytorch_ext.ops.swiglu import swiglu
    from pytorch_ext.ops.total_norm import total_norm
    from pytorch_ext.ops.weight_gradients import weight_gradients

__all__ = [
    "adamw_step",
    "attention",
    "linear_cross_entropy",
    "muon_step",
    "orthogonalize",
    "qk_norm_rope",
    "rms_norm",
    "rope",
    "swiglu",
    "total_norm",
    "weight_gradients",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    operator = getattr(importlib.import_module(f"{__name__}.ops.{name}"), name)
    globals()[name] = operator  # from now on found without this function
    return operator


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
