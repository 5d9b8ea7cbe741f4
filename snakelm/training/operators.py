"""Which backend each operator of the model takes on the run's device: said before the first step,
and kept in the manifest, since it is part of what a figure was measured with.
"""

import torch

import pytorch_ext
from pytorch_ext import attention
from pytorch_ext.dispatch import taken

from ..config import Model
from ..device import Device
from ..errors import UserError

__all__ = ["check_attention", "operators_taken"]

# What the optimizer's operators are given, whatever the model computes in.
UPDATES = {
    "adamw_step": torch.float32,
    "muon_step": torch.float32,
    "orthogonalize": torch.bfloat16,
    "total_norm": torch.float32,
}


def operators_taken(
    model: Model, device: Device, attention_backend: str | None = None
) -> dict[str, str]:
    """Operator → backend, with the instruction set that runs, of a model in the device's dtype and
    of its optimizer.

    ``attention_backend``: what train.attention names; None is the default. UserError when it is
    missing here.
    """
    unused = {"rope" if model.qk_norm else "qk_norm_rope"}
    # Torch's own, elsewhere.
    unused |= set() if device.kind == "cpu" else {"adamw_step", "weight_gradients"}
    unused |= {"weight_gradients"} if device.dtype == torch.float32 else set()
    asked = {"attention": attention_backend}
    return {
        name: taken(name, asked.get(name), device.device, UPDATES.get(name, device.dtype))
        for name in sorted(pytorch_ext.__all__)
        if name not in unused
    }


def check_attention(device: Device, backend: str | None) -> None:
    """Runs attention once on the device; UserError when the backend that train.attention names is
    missing there.
    """
    q_BTHD = torch.zeros(1, 8, 1, 32, dtype=device.dtype, device=device.device)
    try:
        attention(q_BTHD, q_BTHD, q_BTHD, backend=backend)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"train.attention: {error}") from None
