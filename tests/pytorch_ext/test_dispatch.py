"""The table of backends: readable without torch, complete, and what `choose` makes of it."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import pytorch_ext
from pytorch_ext import dispatch, library
from pytorch_ext.dispatch import (
    BEST,
    LEVELS,
    TABLE,
    TRITON,
    VECTORS,
    Backend,
    backends,
    choose,
    spellings,
    taken,
)

ROOT = Path(__file__).resolve().parents[2]


def test_levels_are_those_of_the_core_in_its_order():
    header = (ROOT / "csrc/common/isa.h").read_text(encoding="utf-8")
    members = re.search(r"enum class Isa : int \{(.*?)\};", header)[1]
    assert [member.split(" = ") for member in members.strip().split(", ")] == [
        [level, str(i)] for i, level in enumerate(LEVELS)
    ]


@pytest.mark.skipif(not library.LOADED, reason="the operators are not compiled")
def test_levels_here_are_those_that_the_core_would_run():
    level = torch.ops.pytorch_ext.isa_level
    assert tuple(i for i in range(len(LEVELS)) if level(i) == i) == library.LEVELS_HERE


def test_the_table_is_read_without_torch():
    code = (
        "import sys; from pytorch_ext.dispatch import backends; backends('attention'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_triton_is_not_loaded_before_a_kernel_runs():
    code = (
        "import sys; from pytorch_ext import attention, linear_cross_entropy, qk_norm_rope, "
        "rms_norm, rope, swiglu; sys.exit('triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_every_operator_has_a_row_and_a_reference():
    assert set(TABLE) == set(pytorch_ext.__all__)
    for operator in TABLE:
        assert (ROOT / "pytorch_ext/ops" / operator / "reference.py").is_file()
        assert "reference" in backends(operator)


@pytest.mark.parametrize("operator", TABLE)
@pytest.mark.parametrize("device", ["cpu", "cuda", "mps", "meta"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_device_and_dtype_has_a_default(operator, device, dtype):
    chosen = dispatch._default(operator, device, dtype)
    assert not chosen.devices or device in chosen.devices
    assert not chosen.dtypes or dtype in chosen.dtypes


def test_operators_import_when_first_used_and_unknown_names_do_not():
    assert callable(pytorch_ext.attention)
    assert set(pytorch_ext.__all__) <= set(dir(pytorch_ext))
    with pytest.raises(AttributeError, match="has no attribute 'attenshun'"):
        _ = pytorch_ext.attenshun


def test_attention_names_its_backends_and_spellings():
    assert backends("attention") == ("cpu", "cuda", "sdpa", "reference")
    assert {"cpu:avx2", "cpu", "sdpa"} <= set(spellings("attention"))
    assert "sdpa:avx2" not in spellings("attention")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float32, "cpu"), (torch.bfloat16, "cpu"), (torch.float16, "reference")],
    ids=str,
)
def test_the_default_on_a_cpu_follows_the_dtype(dtype, expected, monkeypatch):
    monkeypatch.setattr(library, "LOADED", True)
    assert choose("attention", None, "q", torch.zeros(1, dtype=dtype)) == (expected, BEST)


@pytest.mark.parametrize("operator", ["qk_norm_rope", "rms_norm", "swiglu"])
def test_the_default_on_a_gpu_is_triton(operator, monkeypatch):
    def on_a_gpu(dtype):
        return SimpleNamespace(device=torch.device("cuda"), dtype=dtype)

    monkeypatch.setattr(dispatch, "HAS_TRITON", True)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert choose(operator, None, "x", on_a_gpu(dtype)) == ("triton", TRITON)
    assert choose(operator, None, "x", on_a_gpu(torch.float64)) == ("reference", BEST)

    monkeypatch.setattr(dispatch, "HAS_TRITON", False)
    with pytest.raises(RuntimeError, match=r"'triton' needs the package triton.*pip install"):
        choose(operator, None, "x", on_a_gpu(torch.float32))


def test_the_default_elsewhere_is_torchs_own():
    assert choose("attention", None, "q", torch.zeros(1, device="meta")) == ("sdpa", BEST)


def test_a_level_is_its_index(monkeypatch):
    monkeypatch.setattr(library, "LOADED", True)
    monkeypatch.setattr(library, "LEVELS_HERE", (0, 1))
    assert choose("attention", "cpu:avx2", "q", torch.zeros(1)) == ("cpu", LEVELS.index("avx2"))
    with pytest.raises(RuntimeError, match="instruction set avx512, which this CPU or build lacks"):
        choose("attention", "cpu:avx512", "q", torch.zeros(1))


def test_a_new_row_is_all_that_a_backend_needs_to_be_chosen(monkeypatch):
    row = Backend("magic", devices=("cpu",), dtypes=("float32",), default_on=("cpu",))
    monkeypatch.setitem(TABLE, "swiglu", (row, *TABLE["swiglu"]))
    assert choose("swiglu", None, "gate", torch.zeros(1)) == ("magic", BEST)
    assert choose("swiglu", None, "gate", torch.zeros(1).half()) == ("reference", BEST)
    assert choose("swiglu", "reference", "gate", torch.zeros(1)) == ("reference", BEST)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Backend("magic", missing=lambda: "needs a wand"), "swiglu: backend 'magic' needs a wand"),
        (Backend("magic", devices=("cuda",)), "takes cuda tensors; gate is on cpu"),
        (Backend("magic", dtypes=("bfloat16",)), "takes bfloat16; gate is torch.float32"),
    ],
    ids=["missing", "device", "dtype"],
)
def test_a_backend_that_cannot_run_is_an_error_that_says_why(row, message, monkeypatch):
    monkeypatch.setitem(TABLE, "swiglu", (row, *TABLE["swiglu"]))
    with pytest.raises(RuntimeError, match=message):
        choose("swiglu", "magic", "gate", torch.zeros(1))


def test_the_page_on_operators_lists_every_backend():
    page = (ROOT / "docs/OPERATORS.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| ")]
    listed: dict[str, set[str]] = {}
    names: list[str] = []
    for operators, backends_here, _ in rows[1:]:  # the first row is the head
        names = operators.strip().split(", ") if operators.strip() else names
        for name in names:
            listed.setdefault(name, set()).update(re.findall(r"`([\w:]+)`", backends_here))
    assert listed == {operator: set(spellings(operator)) for operator in TABLE}


def of_setup(name: str) -> ast.Dict:
    """A dictionary that setup.py is written with."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    return next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )


def test_setup_compiles_for_the_instruction_sets_of_the_table():
    assert tuple(ast.literal_eval(key) for key in of_setup("ISA_FLAGS").keys) == LEVELS


@pytest.mark.parametrize("operator", TABLE)
def test_a_backend_offers_the_levels_that_its_kernels_are_compiled_for(operator):
    """Or `taken` would name another one than runs."""
    kernels, compiled = of_setup("KERNELS"), set()
    for key, levels in zip(kernels.keys, kernels.values, strict=True):
        if ast.literal_eval(key).startswith(f"csrc/ops/{operator}/"):
            known = {"tuple(ISA_FLAGS)": LEVELS, "VECTORS": VECTORS}
            compiled |= set(known.get(ast.unparse(levels)) or ast.literal_eval(levels))
    assert {level for row in TABLE[operator] for level in row.levels} == compiled


@pytest.mark.skipif(not library.LOADED, reason="the operators are not compiled")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("operator", TABLE)
def test_what_is_taken_is_spelt_in_full_and_can_be_asked_for(operator, dtype):
    cpu, stand_in = torch.device("cpu"), torch.zeros(1, dtype=dtype)
    full = taken(operator, None, cpu, dtype)
    assert taken(operator, full, cpu, dtype) == full
    assert choose(operator, full, "x", stand_in)[0] == choose(operator, None, "x", stand_in)[0]


@pytest.mark.parametrize(
    ("here", "compiled", "asked", "full"),
    [
        ((0,), LEVELS, None, "magic:portable"),
        ((0, 1, 2), LEVELS, None, "magic:avx512"),
        ((0, 1, 2), LEVELS, "magic:avx2", "magic:avx2"),
        ((0, 1, 2, 3), ("portable", "avx2"), "magic", "magic:avx2"),
        ((0, 1), (), None, "magic"),
    ],
)
def test_the_level_taken_is_the_best_that_cpu_and_build_have(
    here, compiled, asked, full, monkeypatch
):
    row = Backend("magic", levels=compiled, default_on=("cpu",))
    monkeypatch.setitem(TABLE, "swiglu", (row, *TABLE["swiglu"]))
    monkeypatch.setattr(library, "LEVELS_HERE", here)
    assert taken("swiglu", asked, torch.device("cpu"), torch.float32) == full


def test_what_cannot_be_taken_is_an_error_that_says_why(monkeypatch):
    monkeypatch.setattr(library, "LOADED", True)
    monkeypatch.setattr(library, "HAS_CUDA", True)
    with pytest.raises(RuntimeError, match="takes cuda tensors; a tensor is on cpu"):
        taken("attention", "cuda", torch.device("cpu"), torch.float32)
