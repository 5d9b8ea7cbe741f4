"""Which code made an artefact: a digest over a script and all it imports from this project.

Two digests, because they answer two questions. `exact` covers the bytes of everything that running
the script loads: any edit shows, a comment too. `meaning` covers what changes a result: Python
without comments and docstrings, C++ and CUDA without comments and blank space, and without the
modules that only carry a step (configuration, settings, logging): what they hand over stands in the
settings file. Steps that take minutes run again when the meaning changes; training, which may have
taken weeks, only says so.

Native code counts where a module that does not merely carry the step imports the extension it is
built into, and of it the files that the extension is built from: its folder and every header those
include.
"""

import ast
import functools
import hashlib
import re
from pathlib import Path

__all__ = ["ROOT", "code_digest", "imported_files", "native_files"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("snakelm", "pytorch_ext")
CARRIERS = ("snakelm/config/", "snakelm/workflow/", "snakelm/errors.py", "snakelm/log.py")

# A module that loads an extension → the folders of its sources.
NATIVE = {
    "snakelm._text": ("csrc/text",),
    "snakelm._dedup": ("csrc/dedup",),
    "pytorch_ext.library": ("csrc/ops", "pytorch_ext"),
}
SOURCES = {".cpp", ".cu", ".h", ".cuh"}


@functools.cache
def code_digest(script: str | Path) -> dict[str, str]:
    """`{"exact": hex, "meaning": hex}` over a script, the project modules it imports and the native
    code they load.
    """
    exact, meaning = hashlib.sha256(), hashlib.sha256()
    counted = set(imported_files(script, carriers=False))
    for file in imported_files(script):
        name = file.relative_to(ROOT).as_posix()
        data_digest, meaning_digest = _digests(file)
        exact.update(f"{name} {data_digest} ".encode())
        if file in counted:
            meaning.update(f"{name} {meaning_digest} ".encode())
    return {"exact": exact.hexdigest(), "meaning": meaning.hexdigest()}


def imported_files(script: str | Path, *, carriers: bool = True) -> list[Path]:
    """The script and every file of this project that running it can load, sorted.

    Without ``carriers``, those that can change its result: modules that only carry a step are left
    out, and what only they import.
    """
    seen: set[Path] = set()
    extensions: set[str] = set()
    waiting = [Path(script).resolve()]
    while waiting:
        file = waiting.pop()
        if file in seen or (not carriers and _carries(file)):
            continue
        seen.add(file)
        modules = _imported_modules(file)
        extensions |= modules & NATIVE.keys()
        waiting += [found for module in modules for found in _files_of(module)]
    return sorted(seen.union(*(native_files(extension) for extension in extensions)))


@functools.cache
def native_files(extension: str) -> frozenset[Path]:
    """The sources of an extension, and every header of ours that they include, in whatever
    folder.
    """
    waiting = [
        file
        for folder in NATIVE[extension]
        for file in (ROOT / folder).rglob("*")
        if file.suffix in SOURCES
    ]
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _included(file)
    return frozenset(found)


def _included(file: Path) -> list[Path]:
    """What `#include "…"` names in a source, as the compiler finds it: beside the file, or below
    csrc.
    """
    names = re.findall(r'^\s*#\s*include\s*"([^"]+)"', file.read_text("utf-8"), flags=re.MULTILINE)
    places = [place / name for name in names for place in (file.parent, ROOT / "csrc", ROOT)]
    return [place.resolve() for place in places if place.is_file()]


def _carries(file: Path) -> bool:
    return file.relative_to(ROOT).as_posix().startswith(CARRIERS)


@functools.cache
def _imported_modules(file: Path) -> frozenset[str]:
    """Dotted names in this project that a file imports; of `from a import b`, both a and a.b."""
    if file.suffix != ".py":
        return frozenset()

    package = list(file.relative_to(ROOT).parts[:-1])
    found: set[str] = set()
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            found |= {".".join([*base, *more]) for more in ([], *([a.name] for a in node.names))}
    return frozenset(name for name in found if name.split(".")[0] in PACKAGES)


@functools.cache
def _files_of(module: str) -> tuple[Path, ...]:
    """The module's file and the `__init__.py` of each package above it, as Python would run
    them.
    """
    parts = module.split(".")
    packages = [ROOT.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts) + 1)]
    files = [*packages, ROOT.joinpath(*parts).with_suffix(".py")]
    return tuple(file for file in files if file.is_file())


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes())


@functools.cache
def _digests(file: Path) -> tuple[str, str]:
    """SHA-256 of a file's bytes, and of its meaning."""
    data = file.read_bytes()
    return (
        hashlib.sha256(data).hexdigest(),
        hashlib.sha256(_meaning(file, data).encode()).hexdigest(),
    )


def _meaning(file: Path, data: bytes) -> str:
    if file.suffix == ".py":
        return ast.dump(_without_docstrings(ast.parse(data)))
    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", data.decode("utf-8"), flags=re.DOTALL)
    return " ".join(text.split())


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree
