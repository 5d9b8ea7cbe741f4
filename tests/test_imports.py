"""Imports go one way: rules → scripts → snakelm → pytorch_ext → csrc; the data half never loads
torch.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEVER = {
    "snakelm": {"snakemake", "scripts", "rules", "benchmarks", "tests"},
    "pytorch_ext": {"snakelm", "snakemake", "scripts", "benchmarks", "tests"},
    "scripts": {"scripts", "snakemake", "benchmarks", "tests"},
    "csrc": {"snakelm", "pytorch_ext", "torch", "snakemake"},
}
WITHOUT_TORCH = [
    "snakelm.config.load",
    "snakelm.data",
    "snakelm.tokenizer",
    "snakelm.files",
    "snakelm.workflow.manifest",
]


def modules(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imported(file):
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize(
    "file",
    [f for folder in NEVER for f in modules(folder)],
    ids=lambda f: f.relative_to(ROOT).as_posix(),
)
def test_imports_go_one_way(file):
    wrong = set(imported(file)) & NEVER[file.relative_to(ROOT).parts[0]]
    assert not wrong, f"{file.relative_to(ROOT)} imports {wrong}"


def test_the_layers_are_there():
    assert all(modules(folder) for folder in NEVER)


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_the_data_half_never_loads_torch(name):
    names = [name]
    folder = ROOT.joinpath(*name.split("."))
    if folder.is_dir():
        names += [
            ".".join(f.relative_to(ROOT).with_suffix("").parts)
            for f in folder.rglob("*.py")
            if f.stem != "__init__"
        ]
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_native_code_knows_no_tensors():
    sources = [f for f in (ROOT / "csrc").rglob("*") if f.suffix in {".cpp", ".h", ".cu", ".cuh"}]
    assert sources
    for file in sources:
        assert "torch/" not in file.read_text(encoding="utf-8"), (
            f"{file.relative_to(ROOT)} includes a torch header"
        )
