"""The default corpus: the prose in the docstrings of the packages that the workflow depends on
anyway.

It needs no download and no licence beyond those already accepted by installing. Packages are found
by `importlib`'s path finder and parsed with `ast`, never imported. Plotly would be the largest
and is left out: its docstrings are generated. The text depends on the versions installed, so the
manifest lists them.

A document is one module's, class's or function's docstring without its code examples. Docstrings
too short to stand alone are combined: those of a class's methods follow the class's own, those of a
module's functions the module's.
"""

import ast
import gc
import importlib.machinery
import importlib.metadata
import multiprocessing
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .prose import SHORTEST, SeenPassages, is_prose, prose

__all__ = [
    "PACKAGES",
    "PackageProse",
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
# With these calls numpy and torch give their C functions docstrings.
NEWDOC = {"add_newdoc", "add_docstr", "add_docstr_all"}
SHORT_TOGETHER = 12  # short docstrings combined in one document, at most
SHORTEST_SHORT = 40  # characters of one of them, at least

Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class PackageProse:
    """What one package contributes."""

    package: str
    version: str
    licence: str
    documents: list[tuple[str, str, int]] = field(default_factory=list)  # (text, file, line)


def installed() -> list[tuple[str, Path]]:
    """(import name, folder) of the packages of `PACKAGES` that are installed, in that order; '' is
    the standard library.
    """
    packages = []
    for name in PACKAGES:
        if name:
            # On disk, whatever stands in sys.modules under that name.
            spec = importlib.machinery.PathFinder.find_spec(name)
            folders = list(spec.submodule_search_locations or []) if spec else []
        else:
            folders = [sysconfig.get_paths()["stdlib"]]

        if folders:
            packages.append((name, Path(folders[0])))
    return packages


def documents(
    processes: int = 1, on_file: Callable[[int, int], None] | None = None
) -> list[PackageProse]:
    """The prose of every installed package, in an order that depends on names alone.

    ``on_file`` is called with (files done, files in all). No text comes twice, nor a passage of 40
    characters or more.
    """
    packages = installed()
    prose_of = {
        name: PackageProse(name or "python", *version_and_licence(name)) for name, _ in packages
    }
    files = [(name, folder, file) for name, folder in packages for file in python_files(folder)]
    extracted = _extracted([file for _, _, file in files], processes)

    # In the files' order whatever the processes: what counts as repeated depends on it.
    seen = SeenPassages()
    for done, ((name, folder, file), texts) in enumerate(zip(files, extracted, strict=True), 1):
        origin = f"{name or 'python'}/{file.relative_to(folder).as_posix()}"
        for text, line in texts:
            fresh = seen.fresh(text)
            if fresh:
                prose_of[name].documents.append((fresh, origin, line))
        if on_file:
            on_file(done, len(files))

    return [prose_of[name] for name, _ in packages]


def _extracted(paths: list[Path], processes: int) -> Iterator[list[tuple[str, int]]]:
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
    return sorted(_scope(tree), key=lambda document: document[1])


def _scope(node: Scope) -> Iterator[tuple[str, int]]:
    """Documents of a module, class or function and of all within it; short ones go with their
    scope's own.
    """
    own, line = prose(ast.get_docstring(node, clean=False) or ""), getattr(node, "lineno", 1)
    short: list[str] = []
    for child in _children(node):
        if isinstance(child, ast.Expr):
            for text in map(prose, _added(child)):
                if is_prose(text):
                    yield text, child.lineno
            continue

        text = prose(ast.get_docstring(child, clean=False) or "")
        if SHORTEST_SHORT <= len(text) < SHORTEST and not child.name.startswith("_"):
            short.append(f"{child.name}: {text}")
        yield from _scope(child)

    together = "\n\n".join(part for part in [own, *short[:SHORT_TOGETHER]] if part)
    if is_prose(together):
        yield together, line


def _children(
    node: Scope,
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Expr]:
    """Definitions and calls directly under ``node``, and under its `if` and `try`; no definitions
    inside function bodies.
    """
    in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    waiting = list(reversed(node.body))
    while waiting:
        child = waiting.pop()
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not in_function:
                yield child
        elif isinstance(child, ast.If | ast.Try):
            waiting += reversed([*child.body, *child.orelse])
        elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
            yield child


def _added(statement: ast.Expr) -> Iterator[str]:
    """The docstring in a call such as `add_newdoc(place, name, text)`."""
    call = statement.value
    if not isinstance(call, ast.Call):
        return

    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    for argument in call.args if name in NEWDOC else []:
        # "…".format(…)
        if isinstance(argument, ast.Call) and isinstance(argument.func, ast.Attribute):
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

    # The modern field, then the classifiers, then the first line of the free text.
    def first_line(field: str) -> str:
        return ((about.get_all(field) or [""])[0].strip().splitlines() or [""])[0]

    classifiers = [
        classifier.split(" :: ")[-1]
        for classifier in about.get_all("Classifier") or []
        if classifier.startswith("License ::")
    ]
    stated = first_line("License-Expression"), ", ".join(classifiers), first_line("License")
    return about["Version"], next(filter(None, stated), "unknown")
