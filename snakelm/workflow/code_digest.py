"""Which code made an artefact: a digest over a script and all it imports from this project.

Two digests, because they answer two questions. `exact` covers the bytes: any edit shows, a comment
too. `meaning` covers what runs: Python without comments and docstrings, C++ and CUDA without
comments and blank space, and without the modules that only carry a step (configuration, logging,
…): what they hand over stands in the settings file. Steps that take minutes run again when the
meaning changes; training, which may have taken weeks, only says so.
"""

import ast
import functools
import hashlib
import re
from pathlib import Path

__all__ = ["ROOT", "code_digest", "imported_files"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("snakelm", "pytorch_ext")
CARRIERS = ("snakelm/config/", "snakelm/workflow/", "snakelm/errors.py", "snakelm/log.py")
NATIVE = {"snakelm._text": "csrc/text", "pytorch_ext._C": "csrc/ops"}


def code_digest(script: str | Path) -> dict[str, str]:
    """`{"exact": hex, "meaning": hex}` over a script, the project modules it imports and the native
    code they load.
    """
    exact, meaning = hashlib.sha256(), hashlib.sha256()
    for file in imported_files(script):
        name = file.relative_to(ROOT).as_posix()
        whole, running = _digests(file)
        exact.update(f"{name} {whole} ".encode())
        if not name.startswith(CARRIERS):
            meaning.update(f"{name} {running} ".encode())
    return {"exact": exact.hexdigest(), "meaning": meaning.hexdigest()}


def imported_files(script: str | Path) -> list[Path]:
    """The script and every file of this project that running it can load, sorted."""
    script = Path(script).resolve()
    seen: set[Path] = set()
    waiting = [script]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += _imports(file)
    natives = [
        folder for module, folder in NATIVE.items() if any(_mentions(file, module) for file in seen)
    ]
    sources = [
        f
        for folder in natives
        for f in (ROOT / folder).rglob("*")
        if f.suffix in {".cpp", ".h", ".cu", ".cuh"}
    ]
    return sorted({*seen, *sources})


# Several steps import the same files, and the workflow asks for all steps at once: each file is
# read once a process.
@functools.cache
def _imports(file: Path) -> list[Path]:
    package = list(file.relative_to(ROOT).parts[:-1])
    found: list[Path] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            names = [base, *([*base, alias.name] for alias in node.names)]
        else:
            continue
        for name in names:
            found += _files_of(name)
    return found


def _files_of(name: list[str]) -> list[Path]:
    """The module's file and the `__init__.py` of each package above it, as Python would run
    them.
    """
    if not name or name[0] not in PACKAGES:
        return []
    packages = [ROOT.joinpath(*name[:i], "__init__.py") for i in range(1, len(name) + 1)]
    return [p for p in [*packages, ROOT.joinpath(*name).with_suffix(".py")] if p.is_file()]


@functools.cache
def _mentions(file: Path, module: str) -> bool:
    last = module.rsplit(".", 1)[1]
    return file.suffix == ".py" and bool(
        re.search(rf"\b{last}\b", file.read_text(encoding="utf-8"))
    )


@functools.cache
def _digests(file: Path) -> tuple[str, str]:
    data = file.read_bytes()
    return hashlib.sha256(data).hexdigest(), hashlib.sha256(
        _meaning(file.suffix, data).encode()
    ).hexdigest()


def _meaning(suffix: str, data: bytes) -> str:
    if suffix == ".py":
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
