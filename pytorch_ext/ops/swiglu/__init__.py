"""The gate of SwiGLU (Shazeer 2020, arXiv:2002.05202): `swiglu(gate, up)`.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/swiglu: one pass forward, one backward, which computes the sigmoid again.
    triton     swiglu_triton.py: one launch forward, one backward, on a GPU.
    reference  plain torch, any device and dtype; under torch.compile one fused loop.
"""

import torch

from pytorch_ext.arguments import check_floating, check_tensors
from pytorch_ext.autocast import as_the_widest
from pytorch_ext.dispatch import choose
from pytorch_ext.ops.swiglu.native import swiglu_native
from pytorch_ext.ops.swiglu.reference import swiglu_reference


def swiglu(gate: torch.Tensor, up: torch.Tensor, *, backend: str | None = None) -> torch.Tensor:
    """silu(gate) * up, elementwise; gate and up of one shape and dtype, any strides, computed in at
    least float32.

    Raises ValueError when they differ (broadcasting here is always a mistake) and for integers,
    TypeError for what is no tensor, RuntimeError for a backend that is missing here or doesn't take
    such tensors.
    """
    check_tensors("swiglu", gate=gate, up=up)
    check_floating("swiglu", gate=gate, up=up)
    gate, up = as_the_widest(gate, up)
    if gate.shape != up.shape or gate.dtype != up.dtype:
        raise ValueError(
            f"swiglu: gate {gate.dtype} {list(gate.shape)}, up {up.dtype} {list(up.shape)}; "
            "the same expected"
        )

    name, level = choose("swiglu", backend, "gate", gate)
    if name == "reference":
        return swiglu_reference(gate, up)
    return swiglu_native(gate, up, level)
