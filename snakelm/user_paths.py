"""The user's own files, as the configuration names them: paths, globs, `~`.

No rule and no command line holds their names. Snakemake would read braces and angle brackets in
them, a step would take one with a dash in front for a flag, and sixty thousand fit on no command
line. Each step finds its files by `expand`, which gives the same ones wherever it is called.

What runs have made is no source of a run: a glob like `**/*.parquet` finds it from the second time
on. So a glob leaves out what is in a results folder, of this run or another, in `.snakemake` and in
Python environments; a folder is known by a file in it, whatever its name. Whoever means another
run's documents names their folder: `other/data/deduplicated/*.parquet`.
"""

import glob
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from .errors import UserError
from .model_folders import model_files
from .remote_files import is_address, local_files

__all__ = ["CONTROL", "MADE", "RESULTS_MARK", "base_files", "expand", "home"]

RESULTS_MARK = "config/code.json"  # in every results folder from the first run on
ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")

# What a run makes, seen from its results folder, which may be one with files of the user's in it.
MADE = re.compile(
    r"(data/(raw|sampled|deduplicated|not_forgotten|languages|personal_data|quality|filtered"
    r"|decontaminated|processed)|benchmarks|checkpoints|embeddings|figures|logs|models"
    r"|source_ablation|sweep|tables|tokenizer)/"
    r"|config/([^/]+|[^/]+/\w+\.files)$|(final|sft|preference)_model\.pt|plan\.json(?!l)"
)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

OURS = "model.pt"  # beside what transformers saves


def home(path: str) -> Path:
    """``path`` with `~` for what it stands for."""
    return Path(os.path.expanduser(path))


def expand(
    patterns: str | Iterable[str],
    where: str = "sources[].path",
    *,
    results: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Path]:
    """The files that paths and globs (`**` too) stand for, sorted, each once; UserError when one
    matches nothing.

    ``where``: the config key that holds them. ``results``: this run's own folder, whose files are
    refused however they are named. ``say`` hears what a glob leaves out.
    """
    own = None if results is None else os.path.realpath(results)
    files: dict[str, Path] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matches = _matches(pattern, where, own, say)
        files.update((file.as_posix(), file) for file in matches)

    found = [files[name] for name in sorted(files)]
    for file in found:
        _check_name(file, where)
    if own:
        _check_not_made_here(found, own, where)
    return found


def base_files(path: Path) -> list[Path]:
    """The files that define a model to start from, a file or a folder, its weights first."""
    if not path.is_dir():
        return [path]
    return [path / OURS] if (path / OURS).is_file() else model_files(path)


def _matches(
    pattern: str, where: str, own: str | None, say: Callable[[str], None] | None
) -> list[Path]:
    """The files of one path or glob; ``own``: where this run's results really are."""
    if is_address(pattern):
        return local_files(pattern, where)

    expanded = os.path.expanduser(pattern)
    if os.path.isdir(expanded):
        raise UserError(
            f"{pattern}: a folder, expected files; say {pattern.rstrip('/')}/**/*.parquet"
        )
    if os.path.isfile(expanded):
        return [Path(expanded)]

    as_glob, fixed = _as_glob(expanded)
    names = [name for name in glob.glob(as_glob, recursive=True) if os.path.isfile(name)]
    folders = _Folders(fixed, own)
    kept = [name for name in names if not folders.not_the_users(name)]
    count = len(names) - len(kept)
    files = "file" if count == 1 else "files"
    left_out = f"{count:,} {files} of {' and '.join(sorted(folders.left_out))}"
    if not kept:
        only = f"nothing but {left_out}" if names else "no such file"
        raise UserError(f"{pattern}: {only}, seen from {os.getcwd()}; fix {where}")

    if say and folders.left_out:
        say(f"{where}: {pattern}: {left_out} left out")
    return [Path(name) for name in kept]


def _as_glob(path: str) -> tuple[str, str]:
    """The pattern for `glob`, and the folder in front of its first wildcard. A folder that is there
    as it is written is meant as it is written, brackets and all.
    """
    parts = path.split("/")
    fixed = ""
    for i, part in enumerate(parts[:-1]):
        folder = f"{fixed}{part}/"
        if glob.has_magic(part) and not os.path.isdir(folder):
            return glob.escape(fixed) + "/".join(parts[i:]), fixed
        fixed = folder
    return glob.escape(fixed) + parts[-1], fixed


class _Folders:
    """The folders that a glob went through, below the one in front of its first wildcard."""

    def __init__(self, fixed: str, own: str | None) -> None:
        self.left_out: set[str] = set()  # folders
        self._fixed, self._own = fixed, own
        self._kinds: dict[str, str] = {}

    def not_the_users(self, name: str) -> bool:
        """Whether a file is a run's, Snakemake's or an environment's."""
        below = name.removeprefix(self._fixed)
        places = [i for i, letter in enumerate(below) if letter == "/"]
        for place in (-1, *places):
            folder = self._fixed + below[: place + 1]
            kind = self._kind(folder)
            made = kind != "results" or MADE.match(below[place + 1 :])
            if kind and made and (kind == "results" or place >= 0):
                self.left_out.add(folder.rstrip("/") or ".")
                return True
        return False

    def _kind(self, folder: str) -> str:
        if folder not in self._kinds:
            self._kinds[folder] = _kind(folder, self._own)
        return self._kinds[folder]


def _kind(folder: str, own: str | None) -> str:
    """What a folder is, if it is none of the user's."""
    if os.path.basename(folder.rstrip("/")) == ".snakemake":
        return "snakemake"
    if any(os.path.exists(folder + mark) for mark in ENVIRONMENT_MARKS):
        return "environment"
    marked = os.path.isfile(folder + RESULTS_MARK)
    return "results" if marked or (own and os.path.realpath(folder) == own) else ""


def _check_name(file: Path, where: str) -> None:
    """Names go to terminals, tables and pages, and into files of UTF-8."""
    name = file.as_posix()
    if CONTROL.search(name):
        raise UserError(f"{where}: {name!r}: control characters in a file's name; rename it")
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(f"{where}: {name!r}: a name that is not UTF-8; rename it") from None


def _check_not_made_here(files: Iterable[Path], results: str, where: str) -> None:
    """What a run makes can't be what it is made from, by whatever link it is reached."""
    own = results.rstrip("/") + "/"
    real: dict[str, str] = {}
    for file in files:
        folder, name = os.path.split(file)
        if folder not in real:
            real[folder] = os.path.realpath(folder or ".")
        path = os.path.realpath(file) if os.path.islink(file) else f"{real[folder]}/{name}"
        if path.startswith(own) and MADE.match(path.removeprefix(own)):
            raise UserError(
                f"{where}: {file}: made by this run, in its results folder {results}; name another "
                "file, or give this run another results folder"
            )
