"""What `pip install` gets: a source distribution that holds all that compiling reads, and a wheel
that holds all that running reads. Both work far from the checkout.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from pytorch_ext import library

ROOT = Path(__file__).resolve().parents[1]
COMPILED = {".cpp", ".cu", ".cuh", ".h", ".so"}
NOT_INSTALLED = {".pyc", *COMPILED}
# Tracked files that only the repository needs.
OF_THE_REPOSITORY = {".ci/run", ".gitignore", ".snakemake-workflow-catalog.yml"}
EVERY_MODULE = """
import importlib, pkgutil, pytorch_ext, snakelm
for package in (snakelm, pytorch_ext):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
"""
USE = """
import sys
from pathlib import Path

import pytorch_ext, snakelm, torch
for package in (snakelm, pytorch_ext):
    assert Path(package.__file__).is_relative_to(sys.prefix), package.__file__

from pytorch_ext import attention, dispatch
from snakelm.config import Model
from snakelm.model import Decoder
from snakelm.serve.app import PAGE
from snakelm.tokenizer import train_bpe

q_BTHD = torch.randn(1, 9, 2, 8)
expected = attention(q_BTHD, q_BTHD, q_BTHD, backend="reference")
torch.testing.assert_close(attention(q_BTHD, q_BTHD, q_BTHD, backend="cpu"), expected)
tokenizer = train_bpe(["the otter and the other otter"] * 9, 262)
assert tokenizer.decode(tokenizer.encode_ordinary("the otter")) == "the otter"
shape = Model(layers=1, width=16, heads=2, kv_heads=1, head_dim=8, hidden=24, context=8)
Decoder(shape, 31).initialize(torch.Generator().manual_seed(0))(torch.zeros(1, 8, dtype=torch.long))
assert (PAGE / "page.html").is_file()
from snakelm.analysis.pages import render_page
assert "<html" in render_page("samples.html", title="a", samples=[], prompts=[])
print("works")
"""


def run(*command, cwd=ROOT, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, env=kept | environment
    )


def setup(*arguments):
    """`setup.py`, with CUDA only where it is built in already: nothing is compiled for this."""
    done = run(
        sys.executable,
        "setup.py",
        "--quiet",
        *arguments,
        SNAKELM_CUDA="" if library.HAS_CUDA else "0",
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    setup("egg_info", "--egg-base", folder, "sdist", "--dist-dir", folder)
    (made,) = folder.glob("*.tar.gz")
    return made


@pytest.fixture(scope="module")
def packed(sdist):
    """Names in the source distribution."""
    with tarfile.open(sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    assert len(names) == len(set(names))
    return set(names)


def files_below(*folders):
    return {
        file.relative_to(ROOT).as_posix()
        for folder in folders
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_the_source_distribution_has_every_file_that_is_compiled(packed):
    sources = {name for name in files_below("csrc", "pytorch_ext") if not name.endswith(".so")}
    assert len(sources) > 40
    assert sources <= packed


def test_the_source_distribution_has_every_file_that_the_build_read(packed):
    """By the compiler's own word, which ninja keeps."""
    folder = ROOT / "build" / f"native-{sys.implementation.cache_tag}"
    if not (folder / "build.ninja").is_file():
        pytest.skip("built elsewhere: no build.ninja here")
    said = run(sys.executable, "-m", "ninja", "-C", folder, "-t", "deps").stdout.split("\n")
    read = {Path(line.strip()) for line in said if line.startswith("    ")}
    ours = {path.relative_to(ROOT).as_posix() for path in read if path.is_relative_to(ROOT)}
    ours = {name for name in ours if not name.startswith((".venv/", "build/"))}
    assert any(name.endswith(".h") for name in ours)
    assert ours <= packed


def test_the_source_distribution_is_the_checkout(packed):
    listed = run("git", "ls-files")
    if listed.returncode:
        pytest.skip("no git checkout")
    tracked = set(listed.stdout.split("\n")) - {""} - OF_THE_REPOSITORY
    tracked = {name for name in tracked if not name.startswith("operators/")}  # another project
    assert {name for name in tracked if (ROOT / name).is_file()} <= packed
    unfit = [name for name in packed if name.endswith((".so", ".pyc")) or "results/" in name]
    assert not unfit


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if importlib.util.find_spec("pip") is None or not library.LOADED:
        pytest.skip("needs pip and the compiled core")
    folder = tmp_path_factory.mktemp("wheel")
    egg = ("egg_info", "--egg-base", folder)
    setup(*egg, "build", "--build-base", folder, "bdist_wheel", "--dist-dir", folder)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_has_what_running_needs_and_no_sources(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = files_below("snakelm", "pytorch_ext")
    assert {n for n in wanted if Path(n).suffix not in NOT_INSTALLED} <= names
    assert {"snakelm/py.typed", "snakelm/_text.pyi", "pytorch_ext/_C.abi3.so"} <= names
    about = {name.partition("/")[0] for name in names} - {"snakelm", "pytorch_ext"}
    assert [name.endswith(".dist-info") for name in about] == [True]
    assert not [name for name in names if Path(name).suffix in COMPILED - {".so"}]


def install(folder, *what):
    """``what`` in an environment of its own; the packages that it needs are borrowed."""
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    borrowed = sysconfig.get_path("purelib")
    Path(site.stdout.strip(), "borrowed.pth").write_text(f"{borrowed}\n")
    done = run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
        *("--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", *what),
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        SNAKELM_CUDA="0",
        MAX_JOBS="2",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return python


def check(python, folder, code):
    done = subprocess.run(
        [python, "-I", "-c", code], cwd=folder, capture_output=True, text=True, env={}
    )
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr


def test_the_wheel_works_elsewhere(wheel, tmp_path):
    check(install(tmp_path / "venv", wheel), tmp_path, USE)


@pytest.mark.long
def test_the_source_distribution_compiles_and_works_elsewhere(sdist, tmp_path):
    check(install(tmp_path / "venv", sdist), tmp_path, EVERY_MODULE + USE)
