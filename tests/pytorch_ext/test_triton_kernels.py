"""Every Triton kernel over rows becomes machine code for A100, H100 and B200, without spilling a
register, with wide loads and stores. A kernel that tests/pytorch_ext/triton_cases.py doesn't list
fails. Attention's, which are loops of products, have tests/pytorch_ext/test_attention_kernels.py.
"""

import functools
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import pytorch_ext
from tests.pytorch_ext.triton_cases import CASES, Case
from tests.pytorch_ext.triton_compile import CAPABILITIES, compile_kernel, triton

FOLDER = Path(pytorch_ext.__file__).parent
POINTERS = {"fp32": "*fp32", "bf16": "*bf16", "fp16": "*fp16"}


def modules() -> list[str]:
    """Modules of pytorch_ext whose name has `_triton` in it, as `ops.swiglu.swiglu_triton`, but
    attention's.
    """
    files = sorted(x for x in FOLDER.rglob("*_triton*.py") if x.parent.name != "attention")
    return [".".join(file.relative_to(FOLDER).with_suffix("").parts) for file in files]


@functools.cache
def functions(module: str) -> dict[str, Any]:
    """The module's own `triton.jit` functions."""
    loaded = importlib.import_module(f"pytorch_ext.{module}")
    made = {name: x for name, x in vars(loaded).items() if isinstance(x, triton.JITFunction)}
    return {name: x for name, x in made.items() if x.__module__ == loaded.__name__}


def test_every_kernel_is_listed():
    """A kernel is what no other calls: the rest is compiled as a part of it."""
    found = {f"{module}.{name}": x for module in modules() for name, x in functions(module).items()}
    called = {name for x in found.values() for name in re.findall(r"(?<!def )\b(\w+)\(", x.src)}
    assert {name for name in found if name.rpartition(".")[2] not in called} == set(CASES)


def all_cases(slow: bool) -> list[Any]:
    return [
        pytest.param(name, case, id=f"{name.split('.', 2)[2]}-{case.label}")
        for name, cases in CASES.items()
        for case in (cases[1:] if slow else cases[:1])
    ]


# Bytes that ptxas stores before a kernel's loop and reads behind it, as nvdisasm shows: a register.
OUTSIDE_LOOPS = {("ops.qk_norm_rope.qk_norm_rope_triton.backward_kernel", "fp32", 90): 8}


def check(name: str, case: Case, capability: int, dtype: str) -> None:
    module, _, kernel = name.rpartition(".")
    signature = {
        key: POINTERS[dtype] if kind == "*bf16" else kind for key, kind in case.signature.items()
    }
    made = compile_kernel(
        functions(module)[kernel], capability, signature, case.constants,
        warps=case.warps, odd=case.odd,
    )  # fmt: skip
    allowed = OUTSIDE_LOOPS.get((name, dtype, capability), 0)
    assert made.stack <= allowed, f"{made.registers} registers, {made.stack} bytes spilled"
    assert "ld.global.v4" in made.ptx, "16 bytes a load"
    assert "st.global.v4" in made.ptx or not case.constants.get("GRADIENT", True)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize(("name", "case"), all_cases(slow=False))
def test_compiles_without_spills(name, case, capability):
    check(name, case, capability, "bf16")


@pytest.mark.long
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("dtype", POINTERS)
@pytest.mark.parametrize(("name", "case"), all_cases(slow=False) + all_cases(slow=True))
def test_every_specialisation_compiles_without_spills(name, case, dtype, capability):
    """pytest -m long -n 2 --dist load tests/pytorch_ext/test_triton_kernels.py"""
    check(name, case, capability, dtype)
