"""Attention's Triton kernels as machine code for A100, H100 and B200: they compile, no loop over
tiles spills a register, and a block's shared memory is within the device's.

Outside the loops a few registers may be spilled (once a block, not once a tile), and in the careful
launch, which runs only where something isn't finite.
"""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pytorch_ext.triton_compile import CAPABILITIES, Compiled, compile_kernel, triton

from pytorch_ext.ops.attention import attention_triton  # isort: skip

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
KERNELS = {
    "forward": attention_triton.forward_kernel,
    "grad_q": attention_triton.grad_q_kernel,
    "grad_kv": attention_triton.grad_kv_kernel,
}
# Kilobytes of shared memory that a block may have; on sm_80 what its consumer cards have.
SHARED = {80: 99, 90: 227, 100: 227}
PRODUCTS = r"\b(HMMA|HGMMA|UTC\w*MMA|FFMA)"  # of the instruction sets sm_80, sm_90, sm_100, float32


def types_of(kernel: Any, dtype: str, constants: dict[str, Any]) -> dict[str, str]:
    """Types of the arguments as a launch finds them, by the names that the kernels share."""
    known = {
        **dict.fromkeys(("log_sum", "delta"), "*fp32"),
        **dict.fromkeys(("row_start", "broken", "ends"), "*i32"),
        **dict.fromkeys(("c", "scale"), "fp32"),
    }
    tensors = {"q", "k", "v", "out", "grad_out", "grad_q", "grad_k", "grad_v"}
    return {
        name: f"*{dtype}" if name in tensors else known.get(name, "i32")
        for name in kernel.arg_names
        if name not in constants
    }


def compiled(
    kernel: Any, capability: int, dtype: str, dim: int, packed: bool, careful: bool = False
) -> Compiled:
    cut = attention_triton.cut_of(dim, DTYPES[dtype])
    constants = {"HAS_START": packed, "D": dim, "DIM": attention_triton.padded(dim)}
    if kernel is attention_triton.delta_kernel:
        blocks = cut.grad_kv._replace(warps=4)
        constants["ROWS"] = blocks.keys
    else:
        blocks = getattr(cut, next(name for name, x in KERNELS.items() if x is kernel))
        constants |= {"ROWS": blocks.rows, "KEYS": blocks.keys, "CAREFUL": careful}
    return compile_kernel(
        kernel, capability, types_of(kernel, dtype, constants), constants,
        warps=blocks.warps, stages=blocks.stages, odd=("T", "tiles", "planes", "heads", "group"),
    )  # fmt: skip


def loops_of(cubin: bytes) -> list[list[str]]:
    """The instructions of each innermost loop that multiplies tiles."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        text = subprocess.run(
            [triton.knobs.nvidia.nvdisasm.path, "-c", file],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := re.match(r"(\.L\w+):", line.strip()):
            labels[label[1]] = len(instructions)
        elif code := re.match(r"\s*/\*[0-9a-f]+\*/\s+(.*?);", line):
            instructions.append(code[1])

    jumps = [(re.search(r"BRA.*`\((\.L\w+)\)", x), i) for i, x in enumerate(instructions)]
    spans = [(labels[to[1]], i) for to, i in jumps if to and labels[to[1]] <= i]
    inner = [a for a in spans if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    loops = [instructions[begin : end + 1] for begin, end in inner]
    return [x for x in loops if sum(bool(re.search(PRODUCTS, one)) for one in x) > 3]


def check(name: str, capability: int, dtype: str, dim: int, packed: bool) -> None:
    made = compiled(KERNELS[name], capability, dtype, dim, packed)
    assert made.shared <= SHARED[capability] * 1024
    loops = loops_of(made.cubin)
    assert len(loops) == 2, "tiles that are seen whole, and the others"
    spilled = [sum(bool(re.search(r"\b(LDL|STL)", one)) for one in loop) for loop in loops]
    assert spilled == [0, 0], f"{made.registers} registers, {made.stack} bytes of stack"


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", KERNELS)
def test_no_loop_spills(name, capability):
    check(name, capability, "bf16", 64, packed=True)


@pytest.mark.long
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("packed", [False, True], ids=["causal", "packed"])
@pytest.mark.parametrize("dim", [16, 40, 64, 80, 128, 256])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_no_loop_of_any_specialisation_spills(name, dtype, dim, packed, capability):
    """pytest -m long -n 2 --dist load tests/pytorch_ext/test_attention_kernels.py"""
    check(name, capability, dtype, dim, packed)


def test_the_pass_before_backward_compiles():
    for packed in (False, True):
        made = compiled(attention_triton.delta_kernel, 90, "bf16", 64, packed)
        assert made.stack == 0


@pytest.mark.long
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", KERNELS)
def test_the_careful_launch_compiles(name, capability):
    """As above."""
    made = compiled(KERNELS[name], capability, "bf16", 64, packed=True, careful=True)
    assert made.shared <= SHARED[capability] * 1024
