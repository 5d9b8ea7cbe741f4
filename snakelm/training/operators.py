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


def operators_taken(
    model: Model, device: Device, attention_backend: str | None = None
) -> dict[str, str]:
    """Operator → backend, with the instruction set that runs, of a model in the device's dtype and
    of its optimizer, whose orthogonalize is in bfloat16 whatever the model is in.

    ``attention_backend``: what train.attention names; None is the default. UserError when it is
    missing here.
    """
    unused = "rope" if model.qk_norm else "qk_norm_rope"
    asked, dtypes = {"attention": attention_backend}, {"orthogonalize": torch.bfloat16}
    return {
        name: taken(name, asked.get(name), device.device, dtypes.get(name, device.dtype))
        for name in sorted(pytorch_ext.__all__)
        if name != unused
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
