"""Compiles Triton kernels for GPUs that aren't here, and reads what the compiler made of them.

`triton.compile` with a GPUTarget goes all the way to machine code (cubin) without a driver, and the
wheel carries cuobjdump. So a machine without a GPU can say whether a kernel compiles, and whether
it spills. Whether it is right, only the interpreter or a GPU can say.
"""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

triton = pytest.importorskip("triton", reason="triton is for Linux (requirements.txt)")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

CAPABILITIES = (80, 90, 100)  # A100, H100, B200
ALIGNED = 16  # what the launcher tells the compiler of pointers, and of numbers divisible by it


class Compiled(NamedTuple):
    """What one thread block takes, and the kernel as PTX and machine code."""

    registers: int  # of a thread
    stack: int  # bytes of local memory that a thread takes: the kernels have no arrays, so spills
    shared: int  # bytes of shared memory
    ptx: str
    cubin: bytes


def compile_kernel(
    kernel: Any,
    capability: int,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    *,
    warps: int = 4,
    stages: int = 3,
    odd: tuple[str, ...] = (),
) -> Compiled:
    """The kernel, a `triton.jit` function, for `sm_<capability>`.

    signature: the type of each argument that is no constant: "*bf16", "i32", "i64", "fp32", …
    constants: values of the constexpr arguments, and None for pointers that are absent.
    odd: pointers and integers that the launcher would find no multiple of 16; all others are.
    """
    types = dict(signature) | dict.fromkeys(constants, "constexpr")
    if left := set(kernel.arg_names) ^ types.keys():
        raise ValueError(f"{kernel.__name__}: {sorted(left)} not in the signature, or unknown")

    aligned = {
        (kernel.arg_names.index(name),): [["tt.divisibility", ALIGNED]]
        for name, kind in signature.items()
        if name not in odd and kind.startswith(("*", "i"))
    }
    source = ASTSource(
        fn=kernel,
        signature={name: types[name] for name in kernel.arg_names},
        constexprs={(kernel.arg_names.index(name),): x for name, x in constants.items()},
        attrs=aligned,
    )
    options = {"num_warps": warps, "num_stages": stages}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    cubin = made.asm["cubin"]
    usage = resources(cubin)
    return Compiled(usage["REG"], usage["STACK"], made.metadata.shared, made.asm["ptx"], cubin)


@cache
def resources(cubin: bytes) -> dict[str, int]:
    """What cuobjdump says of the one kernel in a cubin: REG, STACK, SHARED, …"""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        said = subprocess.run(
            [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    line = said.split("Function ")[1]
    return {name: int(value) for name, value in re.findall(r"([A-Z]+)(?:\[0\])?:(\d+)", line)}
