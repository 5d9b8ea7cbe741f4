"""The gate of SwiGLU (Shazeer 2020, arXiv:2002.05202): `swiglu(gate, up)`.

Plain torch for now: under torch.compile it is one fused loop.
"""

import torch

from pytorch_ext.arguments import check_floating, check_tensors
from pytorch_ext.ops.swiglu.reference import swiglu_reference


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, elementwise; gate and up of one shape and dtype, computed in at least
    float32.

    Raises ValueError when they differ (broadcasting here is always a mistake) and for integers,
    TypeError for what is no tensor.
    """
    check_tensors("swiglu", gate=gate, up=up)
    check_floating("swiglu", gate=gate, up=up)
    if gate.shape != up.shape or gate.dtype != up.dtype:
        raise ValueError(
            f"swiglu: gate {gate.dtype} {list(gate.shape)}, up {up.dtype} {list(up.shape)}; "
            "the same expected"
        )
    return swiglu_reference(gate, up)
