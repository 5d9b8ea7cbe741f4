"""The operators without the workflow: what `pip install ./operators` gives, far from the checkout,
and the example of docs/OPERATORS.md in it.
"""

import re
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from pytorch_ext import library
from tests.test_distributions import check, install, run

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "operators"
USE = """
import importlib.util, pkgutil, sys
from importlib import metadata
from pathlib import Path

assert importlib.util.find_spec("snakelm") is None
assert metadata.requires("snakelm-operators") == ["torch<2.14,>=2.11"]

import pytorch_ext
from pytorch_ext import library
assert Path(pytorch_ext.__file__).is_relative_to(sys.prefix), pytorch_ext.__file__
for module in pkgutil.walk_packages(pytorch_ext.__path__, "pytorch_ext."):
    importlib.import_module(module.name)
assert library.LOADED
"""
EXAMPLE = re.search(
    r"```python\n(.*?)```", (ROOT / "docs/OPERATORS.md").read_text(encoding="utf-8"), re.DOTALL
)[1]
# The example prints a loss now and then.
LEARNS = """
import contextlib, io, torch
torch.set_num_threads(1)
printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    exec(EXAMPLE, {})
losses = [float(line.split()[-1]) for line in printed.getvalue().splitlines()]
assert len(losses) >= 3 and losses[-1] < losses[0] / 4, losses
print("works")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A wheel and a source distribution; of what is compiled already nothing is compiled again."""
    if not library.LOADED:
        pytest.skip("needs the compiled core")
    folder = tmp_path_factory.mktemp("operators")
    build = ("build", "--build-base", folder / "build", "bdist_wheel", "--dist-dir", folder)
    for command in (build, ("sdist", "--dist-dir", folder)):
        done = run(
            *(sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", folder, *command),
            cwd=PROJECT,
            SNAKELM_CUDA="" if library.HAS_CUDA else "0",
        )
        assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_holds_the_operators_and_nothing_else(made):
    (wheel,) = made.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {file.relative_to(ROOT).as_posix() for file in (ROOT / "pytorch_ext").rglob("*.py")}
    held = {name for name in names if ".dist-info/" not in name}
    assert held == modules | {"pytorch_ext/_C.abi3.so", "pytorch_ext/py.typed"}
    assert "-cp311-abi3-" in wheel.name, "one wheel for every later Python"


def test_the_source_distribution_has_what_the_operators_are_compiled_from(made):
    (archive,) = made.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        files = {m.name.partition("/")[2]: m for m in packed if not m.isdir()}
    assert all(member.isreg() for member in files.values()), "files, where the checkout has links"
    wanted = {
        file.relative_to(ROOT).as_posix()
        for folder in ("csrc/common", "csrc/ops", "pytorch_ext")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and file.suffix not in (".so", ".pyc")
    }
    assert wanted <= set(files)
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md"} <= set(files)
    assert not [name for name in files if name.startswith(("snakelm/", "csrc/text", "csrc/dedup"))]


def test_the_two_projects_agree():
    whole, operators = (
        tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        for folder in (ROOT, PROJECT)
    )
    for key in ("version", "license", "requires-python"):
        assert operators["project"][key] == whole["project"][key]
    assert set(operators["project"]["dependencies"]) <= set(whole["project"]["dependencies"])
    built_by = set(operators["build-system"]["requires"])
    assert built_by <= set(whole["build-system"]["requires"])
    assert {"snakelm", operators["project"]["name"]} == set(library.DISTRIBUTIONS)


def test_the_wheel_works_without_the_workflow_and_the_example_learns(made, tmp_path):
    (wheel,) = made.glob("*.whl")
    code = f"{USE}EXAMPLE = {EXAMPLE!r}\n{LEARNS}"
    check(install(tmp_path / "venv", wheel), tmp_path, code)


@pytest.mark.long
def test_the_source_distribution_of_the_operators_compiles(made, tmp_path):
    (archive,) = made.glob("*.tar.gz")
    code = f"{USE}EXAMPLE = {EXAMPLE!r}\n{LEARNS}"
    check(install(tmp_path / "venv", archive), tmp_path, code)


@pytest.mark.parametrize(
    ("installed", "clash"),
    [
        ({"snakelm": "0.1.0"}, False),
        ({"snakelm-operators": "0.2.0"}, False),
        ({"snakelm": "0.1.0", "snakelm-operators": "0.1.0"}, False),
        ({"snakelm": "0.1.0", "snakelm-operators": "0.2.0"}, True),
        ({}, False),
    ],
)
def test_two_versions_of_one_package_are_refused(installed, clash, monkeypatch):
    def version(name):
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    if not clash:
        library.check_owner()
        return
    with pytest.raises(ImportError, match=r"snakelm 0\.1\.0 and snakelm-operators 0\.2\.0"):
        library.check_owner()
