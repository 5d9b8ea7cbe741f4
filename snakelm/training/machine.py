"""What of a machine decides a run's last digits, or more than those: device, precision, kernels. It
stands in every checkpoint, so that a run which goes on elsewhere says what became different.

A requeued job may land on an older node where bf16 is emulated and so not taken, and would go on in
fp32 without a word. (The number of threads, which matters too, is kept: device.py.)
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch

from ..device import Device
from ..errors import UserError

__all__ = ["check_machine", "machine_of"]


def machine_of(device: Device, operators: Mapping[str, str]) -> dict[str, str]:
    """What is compared, in words. ``operators``: their backends, as `operators_taken` gives
    them.
    """
    name = torch.cuda.get_device_name(device.device) if device.kind == "cuda" else device.kind
    precision = "bf16" if device.dtype == torch.bfloat16 else "fp32"
    return {"device": name, "precision": precision, **operators}


def check_machine(
    before: Mapping[str, str] | None,
    now: Mapping[str, str],
    policy: Literal["warn", "error"],
    warn: Callable[[str], None],
) -> None:
    """Says in what the machine differs from that of the checkpoint; by ``policy``,
    train.on_other_machine, a UserError. ``before`` is None for a checkpoint of an earlier version.
    """
    if before is None:
        return
    differences = [
        f"{name} {before.get(name, 'none')} → {now.get(name, 'none')}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]
    if not differences:
        return

    found = f"not as when the checkpoint was written: {', '.join(differences)}"
    if policy == "error":
        raise UserError(
            f"{found}; resume where it was written, or set train.on_other_machine: warn"
        )
    warn(f"{found}; goes on with what is here, and ends with other digits than it would have there")
