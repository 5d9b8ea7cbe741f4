"""Imports go one way, and this is the order:

    rules → scripts → snakelm → pytorch_ext → csrc

and within snakelm a room imports only what stands above it in ROOMS, so there is no circle. That is
what lets a reader understand a room by what it is built on, and what keeps an edit from making
results stale that it has nothing to do with: a step's results depend on all that it imports.

Imports under TYPE_CHECKING and inside functions count between rooms, too. Within a room a name may
be imported under TYPE_CHECKING against the direction, for an annotation: nothing runs.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the bottom up. Rooms on one line don't import each other.
ROOMS = [
    ["ground"],  # modules in no folder: errors, files, log, arrow, parquet, device, …
    ["config"],
    ["workflow"],
    ["tokenizer"],
    ["data"],
    ["model"],
    ["filter"],
    ["training"],
    ["evaluation", "provenance"],
    ["analysis", "serve"],
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}

# Rooms below are free for all, but analysis draws what others wrote: of these rooms it takes the
# types of their records and the readers, and nothing that measures.
RECORDS_FOR_ANALYSIS = {
    "filter": {"snakelm.filter.records"},
    "training": {"snakelm.training.metrics"},
    "model": set(),
    "evaluation": {
        "snakelm.evaluation.records",
        "snakelm.evaluation.loss_record",
        "snakelm.evaluation.plan_record",
        "snakelm.evaluation.sweep_record",
        "snakelm.evaluation.memorisation_record",
        "snakelm.evaluation.source_ablation_record",
        "snakelm.evaluation.embeddings.map",
    },
    "provenance": set(),
}

WITHOUT_TORCH = ("config", "workflow", "tokenizer", "data")

# What each folder must not import, whatever the name after the first dot.
NEVER = {
    "snakelm": {"snakemake", "scripts", "rules", "benchmarks", "tests"},
    "pytorch_ext": {"snakelm", "snakemake", "scripts", "benchmarks", "tests"},
    "scripts": {"scripts", "snakemake", "benchmarks", "tests"},
}


class Import(NamedTuple):
    """One imported name: the module it is from, or is; `typing_only` under TYPE_CHECKING."""

    module: str
    line: int
    typing_only: bool


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files_of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


MODULES = {name_of(file): file for folder in NEVER for file in files_of(folder)}


def imports_of(file: Path) -> Iterator[Import]:
    """Every import of the file, wherever it stands: `from a import b` is a.b where that is a
    module of ours, and a where it isn't.
    """
    tree = ast.parse(file.read_bytes())
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = list(file.relative_to(ROOT).parts[:-1])

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, id(node) in guarded)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                module = full if full in MODULES else base
                yield Import(module, node.lineno, id(node) in guarded)


def room_of(module: str) -> str:
    """`data` for snakelm.data.bins; `ground` for snakelm.files and the compiled extensions."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "snakelm" / parts[1]).is_dir() else "ground"


def our_imports(file: Path) -> Iterator[Import]:
    return (one for one in imports_of(file) if one.module.split(".")[0] == "snakelm")


def by_path(files):
    return pytest.mark.parametrize("file", files, ids=lambda f: f.relative_to(ROOT).as_posix())


def place(file: Path, one: Import) -> str:
    return f"{file.relative_to(ROOT)}:{one.line}: imports {one.module}"


@by_path([file for folder in NEVER for file in files_of(folder)])
def test_a_folder_imports_only_those_below(file):
    never = NEVER[file.relative_to(ROOT).parts[0]]
    wrong = [place(file, one) for one in imports_of(file) if one.module.split(".")[0] in never]
    assert not wrong, "\n".join(wrong)


@by_path(files_of("snakelm"))
def test_a_room_imports_only_those_below(file):
    room = room_of(name_of(file))
    wrong = [
        f"{place(file, one)}; {room} may not import {other}"
        for one in our_imports(file)
        if (other := room_of(one.module)) != room and LEVEL[other] >= LEVEL[room]
    ]
    assert not wrong, "\n".join(wrong)


@by_path(files_of("snakelm/analysis"))
def test_analysis_takes_only_records_of_those_that_measure(file):
    wrong = [
        place(file, one)
        for one in our_imports(file)
        if one.module not in RECORDS_FOR_ANALYSIS.get(room_of(one.module), {one.module})
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_has_its_level():
    folders = {f.parent.name for f in (ROOT / "snakelm").glob("*/__init__.py")}
    assert folders | {"ground"} == set(LEVEL)


def test_there_is_no_circle_of_modules():
    """Within rooms, that is: between them the order of ROOMS rules it out."""
    arrows = {
        name: {one.module for one in imports_of(file) if not one.typing_only} & MODULES.keys()
        for name, file in MODULES.items()
    }
    try:
        TopologicalSorter({name: to - {name} for name, to in arrows.items()}).prepare()
    except CycleError as error:
        pytest.fail("a circle: " + " → ".join(reversed(error.args[1])))


@by_path([file for room in WITHOUT_TORCH for file in files_of(f"snakelm/{room}")])
def test_the_data_half_never_imports_torch(file):
    """Not even inside a function."""
    wrong = [place(file, one) for one in imports_of(file) if one.module.split(".")[0] == "torch"]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_the_data_half_never_loads_torch(room):
    """Nor does anything that it imports, other projects' packages among it."""
    names = ", ".join(name_of(file) for file in files_of(f"snakelm/{room}"))
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_native_code_includes_nothing_above_it():
    sources = [f for f in (ROOT / "csrc").rglob("*") if f.suffix in {".cpp", ".h", ".cu", ".cuh"}]
    assert sources
    for file in sources:
        included = re.findall(r'#\s*include\s*[<"](.*)[>"]', file.read_text(encoding="utf-8"))
        wrong = [name for name in included if name.startswith(("torch/", "ATen/", "pytorch_ext/"))]
        assert not wrong, f"{file.relative_to(ROOT)} includes {wrong}"
