"""configuration.html: what a person needs to get the same result: settings, versions, and hashes of
what went in.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...config import as_mapping
from ..run_record import Record
from .page import Html, element, facts, rows, write_page

__all__ = ["write_configuration"]


def write_configuration(record: Record, path: str | Path) -> None:
    """The page of settings and provenance."""
    write_page(
        path,
        "Configuration and provenance",
        _rerun(record),
        _versions(record),
        _files(record),
        element("h2", "Settings"),
        element(
            "p",
            "Every key, defaults and preset included; docs/TRAINING_CONFIG.md explains each.",
            class_="soft",
        ),
        facts(_flat(as_mapping(record.config)), ["key", "value"]),
    )


def _rerun(record: Record) -> list[Html]:
    if not record.rerun:
        return []
    note = "In a checkout of the same commit. The settings file holds every key below, so nothing else is needed."
    return [
        element("h2", "The same again"),
        element("pre", record.rerun),
        element("p", note, class_="soft"),
    ]


def _versions(record: Record) -> list[Html]:
    newest = max(record.manifests.values(), key=lambda m: str(m.get("created", "")), default={})
    host = {f"host: {key}": value for key, value in _mapping(newest.get("host")).items()}
    code = {"git commit": record.commit} if record.commit else {}
    found = {**code, **_mapping(newest.get("versions")), **host}
    if not found:
        return []
    return [element("h2", "Versions and host"), facts(sorted(found.items()))]


def _files(record: Record) -> list[Html]:
    """Every file that a step read or wrote, with its size and hash."""
    seen: dict[str, tuple[str, object, object]] = {}
    for manifest in record.manifests.values():
        step = Path(str(manifest.get("script", "?"))).stem
        made = _mapping(manifest.get("artefact"))
        for file, by in [
            *((_mapping(f), "") for f in _list(manifest.get("inputs"))),
            (made, f"made by {step} · "),
        ]:
            name = str(file.get("path", ""))
            if name and (by or name not in seen):
                size = element("div", f"{by}{_size(file.get('bytes'))} bytes", class_="soft")
                seen[name] = (name, size, element("small", file.get("sha256", "")))
    if not seen:
        return []
    body = [([name, size], digest) for name, size, digest in (seen[name] for name in sorted(seen))]
    return [element("h2", "Files"), rows(["file", "SHA-256"], body)]


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """`{"train": {"lr": 1}}` → `("train.lr", "1")`, lists by number."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for i, item in enumerate(value):
                yield from _flat(item, f"{before}{key}[{i}].")
        else:
            yield before + key, "–" if value is None else str(value)


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _size(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""
