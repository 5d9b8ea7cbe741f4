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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import write_json
from ..json_files import read_json

__all__ = ["ROOT", "Facts", "code_digest", "imported_files", "native_files", "remembered"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("snakelm", "pytorch_ext")
CARRIERS = ("snakelm/config/", "snakelm/workflow/", "snakelm/errors.py", "snakelm/log.py")

# A module that loads an extension → the folders of its sources.
NATIVE = {
    "snakelm._text": ("csrc/text",),
    "snakelm._dedup": ("csrc/dedup",),
    "pytorch_ext.library": ("csrc/ops", "pytorch_ext"),
}
# A module that reads what lies beside it → the file, or the folder of files.
READ = {
    "snakelm.analysis.pages": "snakelm/analysis/templates",
    "snakelm.evaluation.size_law": "snakelm/evaluation/recorded_runs.json",
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
        exact.update(f"{name} {_facts(file).exact} ".encode())
        if file in counted:
            meaning.update(f"{name} {_facts(file).meaning} ".encode())
    return {"exact": exact.hexdigest(), "meaning": meaning.hexdigest()}


def imported_files(script: str | Path, *, carriers: bool = True) -> list[Path]:
    """The script and every file of this project that running it can load, sorted.

    Without ``carriers``, those that can change its result: modules that only carry a step are left
    out, and what only they import.
    """
    seen: set[Path] = set()
    loaded: set[str] = set()
    waiting = [Path(script).resolve()]
    while waiting:
        file = waiting.pop()
        if file in seen or (not carriers and _carries(file)):
            continue
        seen.add(file)
        modules = _facts(file).modules
        loaded.update(modules)
        waiting += [imported for module in modules for imported in _files_of(module)]

    for extension in NATIVE.keys() & loaded:
        seen |= native_files(extension)
    for reader in READ.keys() & loaded:
        beside = ROOT / READ[reader]
        files = beside.iterdir() if beside.is_dir() else [beside]
        seen |= {file for file in files if file.is_file()}
    return sorted(seen)


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
    sources: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in sources:
            sources.add(file)
            waiting += map(Path, _facts(file).includes)
    return frozenset(sources)


def _carries(file: Path) -> bool:
    return file.relative_to(ROOT).as_posix().startswith(CARRIERS)


@functools.cache
def _files_of(module: str) -> tuple[Path, ...]:
    """The module's file and the `__init__.py` of each package above it, as Python would run them.

    `pytorch_ext.attention` is what pytorch_ext loads from `pytorch_ext.ops.attention` when it is
    first used.
    """
    parts = module.split(".")
    if len(parts) == 2 and (ROOT / "pytorch_ext/ops" / parts[1]).is_dir():
        parts.insert(1, "ops")
    packages = [ROOT.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts) + 1)]
    files = [*packages, ROOT.joinpath(*parts).with_suffix(".py")]
    return tuple(file for file in files if file.is_file())


@dataclass(frozen=True)
class Facts:
    """What a file says of itself: its SHA-256, that of its meaning, the modules of this project
    that it imports (of `from a import b`, both a and a.b), and for native code the files that it
    includes.
    """

    exact: str
    meaning: str
    modules: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()


@contextmanager
def remembered(path: Path) -> Iterator[None]:
    """Within this, files that have not changed since they were last looked at need not be parsed
    again.

    Reading the rules looks at every module of the project, a second or two of parsing. A file is
    taken for unchanged when its inode, size and both its times are; whoever writes a digest down
    (manifests) does so outside of this.
    """
    before: dict[str, Any] = {}
    with suppress(UserError, TypeError):
        before = read_json(path, remedy="")
        for key, values in before.items():
            _REMEMBERED[key] = Facts(*map(_tuples, values))
    try:
        yield
    finally:
        now = {key: astuple(facts) for key, facts in _REMEMBERED.items() if key in _SEEN}
        _REMEMBERED.clear()
        if now.keys() != before.keys():
            with suppress(OSError, UserError):  # a results folder that cannot be written yet
                write_json(path, now)


_REMEMBERED: dict[str, Facts] = {}
_SEEN: set[str] = set()


@functools.cache
def _facts(file: Path) -> Facts:
    stat = file.stat()
    key = f"{file} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
    _SEEN.add(key)
    if key not in _REMEMBERED:
        _REMEMBERED[key] = _look_at(file)
    return _REMEMBERED[key]


def _look_at(file: Path) -> Facts:
    if file.suffix == ".py":
        return _python_facts(file)
    if file.suffix in SOURCES:
        return _native_facts(file)
    data = _sha256(file.read_bytes())
    return Facts(data, data)


def _python_facts(file: Path) -> Facts:
    data = file.read_bytes()
    tree = ast.parse(data)
    modules = sorted(_imported_modules(tree, list(file.relative_to(ROOT).parts[:-1])))
    return Facts(
        _sha256(data), _sha256(ast.dump(_without_docstrings(tree)).encode()), tuple(modules)
    )


def _native_facts(file: Path) -> Facts:
    data = file.read_bytes()
    text = data.decode("utf-8", errors="replace")
    names = re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, flags=re.MULTILINE)

    # As the compiler finds them: beside the file, below csrc, or from the project's root.
    places = [place / name for name in names for place in (file.parent, ROOT / "csrc", ROOT)]
    includes = tuple(place.resolve().as_posix() for place in places if place.is_file())

    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    return Facts(_sha256(data), _sha256(" ".join(text.split()).encode()), includes=includes)


def _imported_modules(tree: ast.Module, package: list[str]) -> set[str]:
    """Of `from a import b`, both a and a.b; what only a type checker imports is left out."""
    modules: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue

        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            modules |= {".".join([*base, *more]) for more in ([], *([a.name] for a in node.names))}
    return {name for name in modules if name.split(".")[0] in PACKAGES}


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


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
