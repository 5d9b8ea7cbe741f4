"""The three places that name versions agree: pyproject's bounds, requirements.txt's pins, the conda
envs' bounds.
"""

import ast
import functools
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from snakelm.workflow.code_digest import imported_files
from snakelm.workflow.step import load_steps

ROOT = Path(__file__).resolve().parents[1]
STEPS = load_steps()
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
ENVS = sorted((ROOT / "envs").glob("*.yaml"))


def bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        lines += extra
    lines += [line for line in project["build-system"]["requires"] if not line.startswith("torch")]
    found = {r.name.lower(): r.specifier for r in map(Requirement, lines)}
    return {**found, "python": SpecifierSet(project["project"]["requires-python"])}


def pins():
    files = (
        ROOT / name
        for name in (
            "requirements.txt",
            "requirements-filter.txt",
            "requirements-checks.txt",
            "requirements-warc.txt",
            "requirements-remote.txt",
        )
    )
    lines = [line.split("#")[0].strip() for file in files for line in file.read_text().splitlines()]
    return {r.name.lower(): str(r.specifier)[2:] for r in map(Requirement, filter(None, lines))}


def env_lines():
    for env in ENVS:
        for line in yaml.safe_load(env.read_text())["dependencies"]:
            for one in line["pip"] if isinstance(line, dict) else [line]:
                name, bound = re.match(r"([\w-]+)\s*(.*)", one).groups()
                yield pytest.param(
                    CONDA_NAMES.get(name, name).lower(), bound, id=f"{env.stem}:{name}"
                )


@pytest.mark.parametrize(("name", "bound"), list(env_lines()))
def test_conda_bounds_are_there_and_admit_our_pin(name, bound):
    assert bound, f"{name} has no bound"
    if name in pins():
        assert pins()[name] in SpecifierSet(bound)
    if name in bounds() and name != "setuptools":
        assert SpecifierSet(bound) == bounds()[name], f"{name}: pyproject says {bounds()[name]}"


@pytest.mark.parametrize("name", sorted(set(pins()) & set(bounds())))
def test_pins_lie_within_the_bounds(name):
    assert pins()[name] in bounds()[name]


def scripts_of(env):
    """The scripts of the rules that name the env."""
    for file in (ROOT / "rules").glob("*.smk"):
        for body in re.split(r"^rule ", file.read_text(), flags=re.MULTILINE)[1:]:
            if f'"../envs/{env}.yaml"' in body:
                yield STEPS[body.partition(":")[0]].script


def needed(env):
    """Distributions that the env's scripts, and all they import from here, import from
    elsewhere.
    """
    names = {
        "yaml": "pyyaml",
        "sklearn": "scikit-learn",
        "pydantic_core": "pydantic",  # these come with the other
        "typing_extensions": "pydantic",
        "markupsafe": "jinja2",
        "triton": "torch",  # with its CUDA build; nothing imports it where there is no GPU
    }
    ours = {"snakelm", "pytorch_ext", "scripts", "setuptools"}
    for script in scripts_of(env):
        for file in python_files(script):
            found = {n.name.split(".")[0] for t in imports(file, ast.Import) for n in t.names}
            found |= {t.module.split(".")[0] for t in imports(file, ast.ImportFrom) if not t.level}
            yield from (names.get(name, name) for name in found - ours - sys.stdlib_module_names)


def python_files(script):
    """What running the script can load. The configuration, as every step reads it, takes the table
    of backends from pytorch_ext, whose operators are imported when first used.
    """
    work = set(imported_files(script, carriers=False))
    for file in imported_files(script):
        if file.suffix == ".py" and (file in work or ROOT / "pytorch_ext" not in file.parents):
            yield file


@functools.cache
def imports(file, kind):
    """Those at a module's top: what is imported inside a function is needed only where it is
    there.
    """
    return [node for node in ast.parse(file.read_bytes()).body if isinstance(node, kind)]


@pytest.mark.parametrize("env", ENVS, ids=lambda p: p.stem)
def test_an_env_has_all_that_its_scripts_import(env):
    there = {param.values[0] for param in env_lines() if param.id.startswith(f"{env.stem}:")}
    assert set(needed(env.stem)) - there == set()


@pytest.mark.parametrize("env", ENVS, ids=lambda p: p.stem)
def test_envs_take_conda_forge_alone(env):
    assert yaml.safe_load(env.read_text())["channels"] == ["conda-forge", "nodefaults"]
    assert env.with_suffix(".post-deploy.sh").is_file()


def test_every_requirement_says_why():
    for file in (
        "requirements.txt",
        "requirements-filter.txt",
        "requirements-checks.txt",
        "requirements-warc.txt",
        "requirements-remote.txt",
        "requirements-dev.txt",
        "requirements-harness.txt",
    ):
        for line in (ROOT / file).read_text().splitlines():
            assert line.startswith(("#", "-r")) or "#" in line, f"{file}: {line} gives no reason"
