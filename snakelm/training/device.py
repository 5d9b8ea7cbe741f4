"""What training runs on: device, precision, threads, and the rate of arithmetic to measure it
against.
"""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..config import Train
from ..errors import UserError

__all__ = [
    "Place",
    "choose_place",
    "choose_threads",
    "multiplies_bf16",
    "pays_to_compile",
    "peak_flops",
    "power_limit",
]

# Dense bf16 tensor-core rates from the vendors' data sheets, in FLOP/s, by a part of the device's
# name.
GPU_PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 5090": 210e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


COMPILE_FROM_FLOPS = (
    1e15  # on a CPU: below it, compiling costs more than it saves (docs/EXPERIMENTS.md)
)


@dataclass(frozen=True)
class Place:
    """Device, compute dtype, and both in words."""

    device: torch.device
    dtype: torch.dtype
    threads: int

    @property
    def words(self) -> str:
        """`cpu, bf16, 2 threads`."""
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else self.device.type
        )
        precision = "bf16" if self.dtype == torch.bfloat16 else "fp32"
        threads = (
            f", {self.threads} thread{'s' * (self.threads > 1)}"
            if self.device.type == "cpu"
            else ""
        )
        return f"{name}, {precision}{threads}"

    def record(self, processes: int) -> dict[str, Any]:
        """For the manifest: the device in words and how many processes; of a GPU its memory at most
        and its power.
        """
        found: dict[str, Any] = {"device": self.words, "processes": processes}
        if self.device.type == "cuda":
            found |= {"gpu_peak_bytes": torch.cuda.max_memory_allocated(self.device)}
            found |= {"gpu_watts": watts} if (watts := power_limit(self.device.index or 0)) else {}
        return found


def choose_place(train: Train, threads: int, local_rank: int = 0) -> Place:
    """The place that train.device and train.precision ask for; sets torch's threads. UserError for
    a missing device.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    kind = next(name for name in there if there[name]) if train.device == "auto" else train.device
    if not there[kind]:
        have = ", ".join(name for name, here in there.items() if here)
        raise UserError(
            f"train.device: {kind} is not available here ({have} is); say auto, or install what it needs"
        )
    device = torch.device(kind, local_rank) if kind == "cuda" else torch.device(kind)
    torch.set_num_threads(threads)
    bf16 = train.precision == "bf16" or (train.precision == "auto" and multiplies_bf16(device))
    return Place(device, torch.bfloat16 if bf16 else torch.float32, threads)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether products in bf16 are faster than in fp32: elsewhere they are emulated and slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool({"amx_bf16", "avx512_bf16"} & _cpu_flags())
    return False


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def power_limit(index: int) -> float | None:
    """Watts that a GPU may draw as nvidia-smi tells it; None where it can't. Energy is estimated
    from it.
    """
    ask = [
        "nvidia-smi",
        "-i",
        str(index),
        "--query-gpu=power.limit",
        "--format=csv,noheader,nounits",
    ]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True)
        return float(done.stdout.strip())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def choose_threads(
    most: int | None, began_with: int | None, processes: int, warn: Callable[[str], None]
) -> int:
    """Threads for this process: what is free, at most ``most``; a resumed run keeps the number it
    began with.

    Another number adds in another order and so ends with other last digits: only a smaller ``most``
    overrules it.
    """
    if began_with is None:
        free = max(1, free_cores() // processes)
        return min(free, most or free)
    if most is not None and most < began_with:
        warn(
            f"this run began with {began_with} threads and goes on with {most}: its last digits may differ"
        )
        return most
    return began_with


def free_cores(sample_s: float = 0.3) -> int:
    """Cores this process may use that are idle now: at least 1, at most its affinity and its
    control group's quota.

    Looks at what is idle over ``sample_s`` seconds, not at the load average, which still counts the
    step before this one. A thread too many costs more than one too few: all wait for the one that
    shares its core.
    """
    cores = _quota(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    before = _idle_ticks()
    if before is None or cores == 1:
        return cores
    time.sleep(sample_s)
    idle = (_idle_ticks() - before) / (os.sysconf("SC_CLK_TCK") * sample_s)
    return max(1, min(cores, round(idle)))


def _idle_ticks() -> int | None:
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return None
    return int(first[4]) + int(first[5])  # idle, waiting for a disk


def _quota(cores: int) -> int:
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if limit == "max" else max(1, min(cores, int(limit) // int(period)))


def pays_to_compile(wish: str, place: Place, flops: float) -> bool:
    """Whether to compile a run of ``flops``, by train.compile; by nothing measured, so that a
    resumed run agrees.
    """
    return wish == "on" or (
        wish == "auto" and (place.device.type == "cuda" or flops >= COMPILE_FROM_FLOPS)
    )


def peak_flops(place: Place) -> tuple[float, str]:
    """FLOP/s that utilisation is measured against, and where the number is from; measured takes 0.2
    s.
    """
    if place.device.type == "cuda" and place.dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(place.device)
        for part, rate in GPU_PEAKS.items():
            if part in name:
                return rate, "data sheet"
    return _measure(place), "a product of 1024×1024 matrices, measured"


def _measure(place: Place) -> float:
    size = 1024 if place.device.type == "cpu" else 8192
    a = torch.ones(size, size, dtype=place.dtype, device=place.device)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        b = a @ a
        b[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
