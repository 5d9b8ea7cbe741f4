"""The default corpus: the prose in the docstrings of the packages that the workflow depends on
anyway.

It needs no download and no licence beyond those already accepted by installing. Packages are found
with `importlib.util.find_spec` and parsed with `ast`, never imported. Plotly would be the largest
and is left out: its docstrings are generated. The text depends on the versions installed, so the
manifest lists them.

A document is one module's, class's or function's docstring without its code examples. What is too
short to stand alone is put together: the short docstrings of a class follow the class's own, those
of a module the module's.
"""

import ast
import gc
import importlib.metadata
import importlib.util
import multiprocessing
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .passages import Passages
from .prose import SHORTEST, is_prose, prose

__all__ = [
    "PACKAGES",
    "Found",
    "documents",
    "file_documents",
    "installed",
    "python_files",
    "version_and_licence",
]

# import name → distribution; all in the dependency closure of requirements.txt, the most prose
# first.
PACKAGES = {
    "": "",  # the standard library
    "scipy": "scipy",
    "torch": "torch",
    "sympy": "sympy",
    "sklearn": "scikit-learn",
    "pandas": "pandas",
    "sqlalchemy": "SQLAlchemy",
    "networkx": "networkx",
    "numpy": "numpy",
    "matplotlib": "matplotlib",
    "narwhals": "narwhals",
    "fontTools": "fonttools",
    "mpmath": "mpmath",
    "tensorboard": "tensorboard",
    "pydantic": "pydantic",
    "oauthlib": "oauthlib",
    "werkzeug": "Werkzeug",
    "snakemake": "snakemake",
    "git": "GitPython",
    "grpc": "grpcio",
    "PIL": "pillow",
    "setuptools": "setuptools",
    "rich": "rich",
    "pyparsing": "pyparsing",
    "fsspec": "fsspec",
    "pygments": "Pygments",
    "humanfriendly": "humanfriendly",
    "pyarrow": "pyarrow",
    "joblib": "joblib",
    "jinja2": "Jinja2",
    "absl": "absl-py",
    "urllib3": "urllib3",
    "dateutil": "python-dateutil",
    "filelock": "filelock",
}
SKIPPED = {
    "tests",
    "test",
    "testing",
    "vendor",
    "_vendor",
    "extern",
    "site-packages",
    "idlelib",
    "lib2to3",
    "ensurepip",
}
NEWDOC = {
    "add_newdoc",
    "add_docstr",
    "add_docstr_all",
}  # numpy and torch give their C functions docstrings so
LONGEST_SHORT = 12  # short docstrings put together in one document


@dataclass
class Found:
    """What one package gave."""

    package: str
    version: str
    licence: str
    documents: list[tuple[str, str, int]] = field(default_factory=list)  # (text, file, line)


def installed() -> list[tuple[str, Path]]:
    """(import name, folder) of the packages of `PACKAGES` that are there, in that order; '' is the
    standard library.
    """
    found = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name) if name else None
        folders = list(spec.submodule_search_locations or []) if spec else []
        folder = folders[0] if folders else None if name else sysconfig.get_paths()["stdlib"]
        if folder:
            found.append((name, Path(folder)))
    return found


def documents(processes: int = 1, on_file: Callable[[int, int], None] | None = None) -> list[Found]:
    """The prose of every installed package, in an order that depends on names alone.

    ``on_file`` hears (files done, files in all). No text comes twice, nor a passage of 40
    characters or more.
    """
    packages = installed()
    files = [(name, folder, file) for name, folder in packages for file in python_files(folder)]
    found = {name: Found(name or "python", *version_and_licence(name)) for name, _ in packages}
    seen = Passages()
    for done, (job, texts) in enumerate(zip(files, _extracted(files, processes), strict=True), 1):
        name, folder, file = job
        origin = f"{name or 'python'}/{file.relative_to(folder).as_posix()}"
        for text, line in texts:
            fresh = seen.fresh(text)
            if fresh:
                found[name].documents.append((fresh, origin, line))
        if on_file:
            on_file(done, len(files))
    return [found[name] for name, _ in packages]


def _extracted(
    files: list[tuple[str, Path, Path]], processes: int
) -> Iterator[list[tuple[str, int]]]:
    paths = [file for _, _, file in files]
    if processes <= 1:
        yield from map(file_documents, paths)
        return
    context = multiprocessing.get_context("spawn")  # Arrow's threads don't survive a fork
    with ProcessPoolExecutor(processes, context, initializer=gc.disable) as pool:
        yield from pool.map(file_documents, paths, chunksize=16)


def python_files(folder: Path) -> list[Path]:
    """A package's files, sorted, without its tests and what it vendors."""
    files = (f for f in folder.rglob("*.py") if not SKIPPED & set(f.relative_to(folder).parts[:-1]))
    return sorted(files, key=lambda f: f.relative_to(folder).as_posix())


def file_documents(file: Path) -> list[tuple[str, int]]:
    """(text, line) of each document in one Python file, in the file's order; nothing for a file
    that isn't Python 3.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return []
    return sorted(_scope(tree), key=lambda found: found[1])


def _scope(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[tuple[str, int]]:
    """Documents of a module, class or function and of all within it; short ones go with their
    scope's own.
    """
    own, line = prose(ast.get_docstring(node, clean=False) or ""), getattr(node, "lineno", 1)
    short: list[str] = []
    for child in _children(node):
        if isinstance(child, ast.Expr):
            yield from (
                (text, child.lineno) for text in map(prose, _added(child)) if is_prose(text)
            )
            continue
        text = prose(ast.get_docstring(child, clean=False) or "")
        if 40 <= len(text) < SHORTEST and not child.name.startswith("_"):
            short.append(f"{child.name}: {text}")
        yield from _scope(child)
    together = "\n\n".join(part for part in [own, *short[:LONGEST_SHORT]] if part)
    if is_prose(together):
        yield together, line


def _children(node: ast.AST) -> Iterator[ast.stmt]:
    """Definitions and calls right under ``node``, those under `if` and `try` too; not those inside
    function bodies.
    """
    waiting = list(reversed(getattr(node, "body", [])))
    while waiting:
        child = waiting.pop()
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not inside:
            yield child
        elif isinstance(child, ast.If | ast.Try):
            waiting += reversed([*child.body, *child.orelse])
        elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
            yield child


def _added(statement: ast.Expr) -> Iterator[str]:
    """The docstring in a call such as `add_newdoc(place, name, text)`."""
    call = statement.value
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    for argument in call.args if name in NEWDOC else []:
        if isinstance(argument, ast.Call) and isinstance(
            argument.func, ast.Attribute
        ):  # "…".format(…)
            argument = argument.func.value
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value


def version_and_licence(name: str) -> tuple[str, str]:
    """Of an installed package of `PACKAGES`; '' is Python itself."""
    if not name:
        return ".".join(map(str, sys.version_info[:3])), "PSF-2.0"
    try:
        about = importlib.metadata.metadata(PACKAGES[name])
    except importlib.metadata.PackageNotFoundError:
        return "unknown", "unknown"
    classifiers = [
        c.split(" :: ")[-1] for c in about.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    text = (about.get("License") or "").strip().splitlines()
    return about["Version"], about.get("License-Expression") or ", ".join(classifiers) or (
        text or ["unknown"]
    )[0]
