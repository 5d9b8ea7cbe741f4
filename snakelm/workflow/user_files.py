"""Whether the user's own files are the ones that a step read: decided by content, without reading
them each time.

Snakemake compares times, and a file that was replaced by an older one (mv, cp -p, rsync -t, a
switched link) would go unseen, while one that was merely touched would be sampled again. So a rule
takes a stamp in place of its user's files: `results/config/<name>/<hash>.files`, named by what it
holds, one identity for the content of each file. It has a folder of its own because it may be
written while Snakemake plans, and of a folder that Snakemake has looked into, it doesn't see what
comes later.

An identity is kept in results/config/files.json for as long as the file's inode, size and times
stay. When one of them differs the file is read: does it have the SHA-256 that stands in the
manifest of what was made from it? Then it keeps its identity, else it gets that of its new content.
A file that nothing was made from yet has no content to compare, and is not read here.
"""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import json_text, sha256_file, write_if_changed
from ..json_files import read_json
from .manifest import manifest_path, read_manifest

__all__ = ["stamp_file"]


@dataclass(frozen=True)
class Seen:
    """A file when it was last looked at: inode, size and times; its identity; and the identity of
    the content that the artefact was made from.
    """

    state: tuple[int, ...]
    identity: str
    used: str


def stamp_file(
    results: str | Path,
    name: str,
    files: Iterable[str | Path],
    artefact: str | Path,
    *,
    look: bool = True,
) -> str:
    """Writes, unless it is there, and names the stamp of ``files``, from which ``artefact`` is
    made.

    ``look``: whether this process is to look at the files; the jobs of a cluster take what the
    process that started them found.
    """
    folder = Path(results, "config")
    seen = _read_seen(folder / "files.json")
    made_from = _inputs_of(artefact)

    identities: list[tuple[str, str]] = []
    for path in map(Path, files):
        known = seen.get(path.as_posix())
        if look or known is None:
            known = _look(path, known, made_from.get(path.as_posix()))
            seen[path.as_posix()] = known
        identities.append((path.as_posix(), known.identity))

    record = {path: [list(one.state), one.identity, one.used] for path, one in seen.items()}
    write_if_changed(folder / "files.json", json_text(record))
    text = json_text(identities)
    stamp = folder / name / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.files"
    write_if_changed(stamp, text)
    return stamp.as_posix()


def _look(path: Path, known: Seen | None, made_from: str | None) -> Seen:
    """A file as it is now. ``made_from``: the SHA-256 of what the artefact was made from."""
    try:
        stat = os.stat(path)
    except OSError:
        return Seen((), "missing", "missing")  # Snakemake says so, with the rule that wants it

    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if known and known.state == state:
        in_use = known.identity == f"sha256:{made_from}"
        return replace(known, used=known.identity) if in_use else known
    if made_from is None:
        digest = hashlib.sha256(f"{path} {state}".encode()).hexdigest()
        identity = f"unread:{digest[:16]}"
        return Seen(state, identity, identity)

    content = sha256_file(path)
    if known and content == made_from:
        return Seen(state, known.used, known.used)
    identity = f"sha256:{content}"
    return Seen(state, identity, known.used if known else identity)


def _inputs_of(artefact: str | Path) -> dict[str, str]:
    """Path → SHA-256 of what ``artefact`` was made from; empty when there is none, or none that can
    be read.
    """
    if not manifest_path(artefact).is_file():
        return {}
    with suppress(UserError, KeyError, TypeError):
        return {one["path"]: one["sha256"] for one in read_manifest(artefact)["inputs"]}
    return {}


def _read_seen(path: Path) -> dict[str, Seen]:
    """What was seen before; nothing where the record is missing or damaged: files are read
    again.
    """
    with suppress(UserError, TypeError, ValueError):
        record: dict[str, Any] = read_json(path, remedy="")
        return {
            key: Seen(tuple(state), str(identity), str(used))
            for key, (state, identity, used) in record.items()
        }
    return {}
