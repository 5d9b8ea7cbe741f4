"""What `python setup.py build_ext --inplace` leaves: the right libraries, linked to no more than
they should be.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pytorch_ext.dispatch import LEVELS

ROOT = Path(__file__).resolve().parents[1]
OPERATORS = ROOT / "pytorch_ext" / "_C.abi3.so"
PYTHON_MODULES = [
    ROOT / "snakelm" / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    for name in ("_text", "_dedup")
]
NOT_BUILT = "is not built; run `python setup.py build_ext --inplace`"


def needed(library: Path) -> str:
    """The shared libraries that it needs, as text."""
    return subprocess.run(
        ["readelf", "-d", library], capture_output=True, text=True, check=True
    ).stdout


def run_python(code: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/"
    )


def setup(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "setup.py", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment
    )


operators = pytest.mark.skipif(not OPERATORS.exists(), reason=f"{OPERATORS.name} {NOT_BUILT}")
has_readelf = pytest.mark.skipif(
    not shutil.which("readelf"), reason="readelf (binutils) is not here"
)


@pytest.fixture(params=PYTHON_MODULES, ids=lambda library: library.name.split(".")[0])
def python_module(request):
    if not request.param.exists():
        pytest.skip(f"{request.param.name} {NOT_BUILT}")
    return request.param


@has_readelf
def test_the_python_modules_do_not_link_torch(python_module):
    assert not re.search(r"libtorch|libc10|cuda", needed(python_module))


def test_the_python_modules_import_without_torch(python_module):
    name = python_module.name.split(".")[0]
    result = run_python(f"import sys; sys.modules['torch'] = None; import snakelm.{name}")
    assert result.returncode == 0, result.stderr


@operators
@pytest.mark.skipif(not shutil.which("nm"), reason="nm (binutils) is not here")
def test_a_kernel_is_linked_once_for_each_instruction_set():
    command = ["nm", "-C", OPERATORS]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True)
    linked = set(re.findall(r" t snakelm::(\w+)::attention_kernels", symbols.stdout))
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    optional = {"amx"} - linked  # a compiler may be too old for it, and setup.py says so
    assert linked == (set(LEVELS) - optional if x86 else {"portable"})


@operators
@has_readelf
def test_the_operators_need_no_cuda_library_no_python_and_no_path():
    libraries = needed(OPERATORS)
    assert "libtorch_cpu.so" in libraries
    assert not re.search(r"libcudart|libcuda\.|libpython|RPATH|RUNPATH", libraries)


@operators
def test_the_operators_open_and_import():
    result = run_python("import torch, pytorch_ext._C; print(torch.ops.pytorch_ext.isa_level(0))")
    assert (result.returncode, result.stdout.strip()) == (0, "0"), result.stderr


@operators
@has_readelf
def test_the_library_holds_cuda_kernels_where_nvcc_was_there():
    ask = "from pytorch_ext import library; print(library.HAS_CUDA)"
    if run_python(ask).stdout.strip() != "True":
        pytest.skip("built without CUDA: there was no nvcc, or SNAKELM_CUDA=0")
    sections = subprocess.run(
        ["readelf", "-S", "-W", OPERATORS], capture_output=True, text=True, check=True
    ).stdout
    assert ".nv_fatbin" in sections
    if shutil.which("cuobjdump"):
        listing = subprocess.run(
            ["cuobjdump", "-lelf", "-lptx", OPERATORS], capture_output=True, text=True
        ).stdout
        assert {"sm_80", "sm_90a"} <= set(re.findall(r"sm_\w+?(?=\.)", listing))


def test_a_missing_compiler_is_one_clear_line():
    result = setup("build_ext", "--inplace", PATH="/nonexistent", CXX="", SNAKELM_CUDA="0")
    assert result.returncode != 0
    assert "setup.py: no C++ compiler found" in result.stderr
    assert "Traceback" not in result.stderr


def test_insisting_on_cuda_without_nvcc_is_one_clear_line():
    if Path("/usr/local/cuda/bin/nvcc").exists():
        pytest.skip("nvcc is in its usual place, which setup.py looks at too")
    result = setup("build_ext", "--inplace", PATH="/nonexistent", SNAKELM_CUDA="1")
    assert "setup.py: SNAKELM_CUDA=1, but nvcc not found" in result.stderr
    assert "Traceback" not in result.stderr


@operators
@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ here")
def test_a_second_build_compiles_nothing():
    """The first call here may compile (sources newer than the library); the second must not."""
    environment = (
        {}
        if "True" in run_python("from pytorch_ext import library; print(library.HAS_CUDA)").stdout
        else {"SNAKELM_CUDA": "0"}
    )
    first = setup("build_ext", "--inplace", "-j", "2", **environment)
    assert first.returncode == 0, first.stderr
    before = OPERATORS.stat().st_mtime_ns
    assert "no work to do" in setup("build_ext", "--inplace", **environment).stdout
    assert OPERATORS.stat().st_mtime_ns == before
