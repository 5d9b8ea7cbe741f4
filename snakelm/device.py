"""What a model runs on: device, precision, threads, and the rate of arithmetic that utilisation is
measured against.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .errors import UserError

__all__ = [
    "Device",
    "choose_dtype",
    "choose_threads",
    "compiled",
    "multiplies_bf16",
    "pays_to_compile",
    "peak_flops",
    "power_limit",
    "set_up_device",
]

# Dense bf16 tensor-core rates from the vendors' data sheets, in FLOP/s, by a part of the device's
# name; the first that fits counts.
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

# On a CPU, compiling costs more than it saves below this many FLOP (docs/EXPERIMENTS.md).
COMPILE_FROM_FLOPS = 1e15


@dataclass(frozen=True)
class Device:
    """A device of torch's, the dtype to compute in, and this process's threads."""

    device: torch.device
    dtype: torch.dtype
    threads: int

    @property
    def kind(self) -> str:
        """`cpu`, `cuda` or `mps`."""
        return self.device.type

    @property
    def description(self) -> str:
        """`cpu, bf16, 2 threads`."""
        precision = "bf16" if self.dtype == torch.bfloat16 else "fp32"
        if self.kind == "cpu":
            return f"cpu, {precision}, {self.threads} thread{'s' * (self.threads > 1)}"
        name = torch.cuda.get_device_name(self.device) if self.kind == "cuda" else self.kind
        return f"{name}, {precision}"

    def record(self, processes: int) -> dict[str, Any]:
        """For the manifest: the description and how many processes; of a GPU its peak memory and
        its power limit.
        """
        record: dict[str, Any] = {"device": self.description, "processes": processes}
        if self.kind == "cuda":
            record["gpu_peak_bytes"] = torch.cuda.max_memory_allocated(self.device)
            if watts := power_limit(self.device.index or 0):
                record["gpu_watts"] = watts
        return record


def set_up_device(name: str, precision: str, threads: int, local_rank: int = 0) -> Device:
    """The device and dtype that ``name`` and ``precision`` say, as train.device and train.precision
    do, and ``threads`` for all that torch computes in this process from here on. UserError for a
    missing device.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    present = [kind for kind, is_there in available.items() if is_there]
    kind = present[0] if name == "auto" else name
    if not available[kind]:
        raise UserError(
            f"train.device: {kind} is not available here ({', '.join(present)} is); set auto, or "
            "install what it needs"
        )

    device = torch.device(kind, local_rank) if kind == "cuda" else torch.device(kind)
    torch.set_num_threads(threads)
    return Device(device, choose_dtype(precision, device), threads)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What products are computed in, by train.precision."""
    bf16 = precision == "bf16" or (precision == "auto" and multiplies_bf16(device))
    return torch.bfloat16 if bf16 else torch.float32


def multiplies_bf16(device: torch.device) -> bool:
    """Whether products in bf16 are faster than in fp32: elsewhere they are emulated and slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool({"amx_bf16", "avx512_bf16"} & _cpu_flags())
    return False


def _cpu_flags() -> set[str]:
    """Features of the processor as Linux names them; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def power_limit(index: int) -> float | None:
    """Watts that a GPU may draw, from nvidia-smi; None where it can't tell. Energy is estimated
    from it.
    """
    command = ["nvidia-smi", "-i", str(index), "--query-gpu=power.limit"]
    command += ["--format=csv,noheader,nounits"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return float(ran.stdout.strip())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def choose_threads(
    most: int | None, began_with: int | None, processes: int, warn: Callable[[str], None]
) -> int:
    """Threads for this process, one of ``processes`` on this host: what is free, at most ``most``;
    a resumed run keeps the number it began with.

    Another number adds in another order and so ends with other last digits: only a smaller ``most``
    overrules it.
    """
    if began_with is None:
        free = max(1, free_cores() // processes)
        return min(free, most or free)

    if most is not None and most < began_with:
        warn(
            f"this run began with {began_with} threads and resumes with {most}: its last digits "
            "may differ"
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
    affinity = hasattr(os, "sched_getaffinity")  # on Linux only
    cores = _quota(len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1)

    before = _idle_ticks()
    if before is None or cores == 1:
        return cores
    time.sleep(sample_s)
    after = _idle_ticks()
    assert after is not None, "it was there a moment ago"

    idle = (after - before) / (os.sysconf("SC_CLK_TCK") * sample_s)
    return max(1, min(cores, round(idle)))


def _idle_ticks() -> int | None:
    """Clock ticks that all cores have been idle or waiting for a disk; None where Linux's /proc
    isn't.
    """
    try:
        cpu = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return None
    return int(cpu[4]) + int(cpu[5])


def _quota(cores: int) -> int:
    """At most ``cores``, less where the control group's quota is lower, as in a container."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if limit == "max" else max(1, min(cores, int(limit) // int(period)))


def pays_to_compile(compile: str, device: Device, flops: float) -> bool:
    """Whether to compile a run of ``flops``, by train.compile; by nothing measured, so that a
    resumed run decides alike.
    """
    if compile == "auto":
        return device.kind == "cuda" or flops >= COMPILE_FROM_FLOPS
    return compile == "on"


def compiled(model: torch.nn.Module, device: Device) -> Callable[..., Any]:
    """torch.compile(model); UserError where the C++ compiler that it needs on a CPU is missing.

    torch takes CXX for the name of one program. With a wrapper before the compiler, or options
    behind it (`ccache g++`), as make and setup.py understand it, torch would find none.
    """
    if device.kind == "cpu":
        from torch._inductor import config

        given = shlex.split(os.environ.get("CXX", ""))
        usual = "clang++" if sys.platform == "darwin" else "g++"
        name = next((word for word in reversed(given) if not word.startswith("-")), usual)
        if shutil.which(name) is None:
            raise UserError(
                f"train.compile: torch.compile needs a C++ compiler, and {name} is not here; "
                "install it (`apt-get install g++`), name another one in CXX, or set "
                "train.compile: off"
            )
        config.cpp.cxx = (None, name)
    return torch.compile(model)


def peak_flops(device: Device) -> tuple[float, str]:
    """FLOP/s that utilisation is measured against, and where the number is from. Measuring takes
    0.2 s.
    """
    if device.kind == "cuda" and device.dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device.device)
        for part, rate in GPU_PEAKS.items():
            if part in name:
                return rate, "data sheet"
    return _measured_flops(device), "a product of 1024×1024 matrices, measured"


def _measured_flops(device: Device) -> float:
    size = 1024 if device.kind == "cpu" else 8192
    a = torch.ones(size, size, dtype=device.dtype, device=device.device)

    fastest = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        b = a @ a
        b[0, 0].item()  # waits for the device
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * size**3 / fastest
