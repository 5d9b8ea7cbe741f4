"""Whether the files that a step reads are those that were written: their SHA-256 against the
manifest of the step that made them, before the step does anything.

A disk, a copy or a hand can change a file and leave its name, its size and its time as they were (a
page that the disk lost reads as zeros), and a damaged model still answers. So the content is read,
once a step: a second of CPU a gigabyte (docs/EXPERIMENTS.md), of what it would read anyway.

A manifest vouches for its artefact and for the files that were written beside it: for train.bin and
train.idx, for final_model.pt and logs/training_metrics.csv. What no manifest speaks of is the
user's own, or was made by hand; it is taken as it is, and a line says so.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .manifest import MARK, content_hash, manifest_path, read_manifest, to_delete

__all__ = ["check_files"]

CACHE = "encoder.table"  # the tokenizer's: verified where it is read, made anew if it is wrong


@dataclass(frozen=True)
class Expected:
    """What a manifest says of a file."""

    sha256: str
    manifest: Path
    step: str  # that wrote both


def check_files(
    paths: Iterable[Path], warn: Callable[[str], None] | None = None
) -> dict[Path, str]:
    """The SHA-256 of each file of ``paths`` that is there; of a folder's files, and of those that
    belong to a file as train.idx does to train.bin, too.

    UserError for one that isn't as it was written. ``warn`` hears of those that no manifest speaks
    of; None where that isn't worth a line.
    """
    found: dict[Path, str] = {}
    unknown: list[str] = []
    for path in dict.fromkeys(one for given in paths for one in _files(given)):
        expected = _expected(path)
        if expected is None:
            unknown.append(str(path))
            continue
        found[path] = content_hash(path)
        if found[path] != expected.sha256:
            raise UserError(_difference(path, found[path], expected))

    if unknown and warn:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        warn(
            f"{unknown[0]}{more}: no manifest says what should be in there; taken as it is, "
            "unverified"
        )
    return found


def _difference(path: Path, sha256: str, expected: Expected) -> str:
    it = to_delete(path) if path.is_symlink() else "it"
    return (
        f"{path}: not as {expected.step} wrote it (found SHA-256 {sha256[:12]}…, expected "
        f"{expected.sha256[:12]}… by {expected.manifest}): damaged, or put there from elsewhere; "
        f"delete {it} and run the same command again, which makes it anew ({expected.step}), or "
        "bring back the one that was written"
    )


def _files(given: Path) -> Iterator[Path]:
    """The files that ``given`` stands for."""
    if given.is_dir():
        yield from sorted(
            path
            for path in given.iterdir()
            if path.is_file() and not path.name.endswith(MARK) and path.name != CACHE
        )
    elif given.is_file():
        yield given
        if manifest_path(given).is_file():
            for path in _written_beside(given, read_manifest(given)):
                if (path.parent, path.stem) == (given.parent, given.stem) and path.is_file():
                    yield path


def _expected(path: Path) -> Expected | None:
    """What the file's own manifest says of it, or that of another file, here or a folder higher,
    with which it was written.
    """
    if manifest_path(path).is_file():
        manifest = read_manifest(path)
        return _of(manifest.get("artefact"), manifest, path, path)

    for folder in (path.parent, path.parent.parent):
        for beside in sorted(folder.glob(f"*{MARK}")):
            artefact = beside.with_name(beside.name.removesuffix(MARK))
            manifest = _read_if_it_names(artefact, path)
            record = _written_beside(artefact, manifest).get(path)
            if record is not None:
                return _of(record, manifest, artefact, path)
    return None


def _of(record: Any, manifest: dict[str, Any], artefact: Path, path: Path) -> Expected:
    step = Path(str(manifest.get("script", "its step"))).stem
    try:
        return Expected(record["sha256"], manifest_path(artefact), step)
    except (KeyError, TypeError):
        raise UserError(
            f"{manifest_path(artefact)}: doesn't say what is in {path}; delete {path} and run its "
            "step again"
        ) from None


def _read_if_it_names(artefact: Path, path: Path) -> dict[str, Any]:
    """The manifest of ``artefact`` if it may speak of ``path``. A damaged one that does is an
    error; of any other nothing is wanted.
    """
    text = manifest_path(artefact).read_bytes()
    return read_manifest(artefact) if path.name.encode() in text else {}


def _written_beside(artefact: Path, manifest: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """The records of what was written with ``artefact``, by where that is now: the run may have
    been moved, as a whole.
    """
    recorded = manifest.get("artefact", {}).get("path", "")
    return {
        Path(os.path.normpath(artefact.parent / _way(recorded, file["path"]))): file
        for file in manifest.get("files", [])
    }


def _way(recorded: str, other: str) -> str:
    return os.path.relpath(other, Path(recorded).parent)
