"""filter.html: what the filter kept of each source, how good it is, and the texts it was least sure
of.
"""

from collections.abc import Iterator
from pathlib import Path

from ...filter.records import FilterRecord, NearThreshold
from ..manifests import FilterManifest
from ..pages import write_page

__all__ = ["write_filter"]

KIND_NAMES = {
    "setfit": "SetFit",
    "static": "static student",
    "cascade": "cascade",
    "frozen": "base model, untuned",
}


def write_filter(
    record: FilterRecord, filtered: FilterManifest, near: NearThreshold, path: str | Path
) -> None:
    """``filtered``: the manifest of the filtered documents."""
    write_page(
        path,
        "filter.html",
        kind=KIND_NAMES.get(filtered.filter, filtered.filter),
        threshold=f"{near.threshold:g}",
        kept=list(_kept(filtered)),
        held_out=record.held_out["setfit"].texts,
        documents=record.documents,
        quality=list(_quality(record)),
        near={
            name: {"kept": source.kept, "dropped": source.dropped}
            for name, source in near.sources.items()
        },
    )


def _kept(filtered: FilterManifest) -> Iterator[tuple[str, str, str, str | None, str, str]]:
    for name, counts in filtered.sources.items():
        share = counts.kept / counts.documents if counts.documents else None
        yield (
            name,
            f"{counts.documents:,}",
            f"{counts.kept:,}",
            _percent(share),
            f"{counts.kept_bytes:,}",
            f"{counts.by_setfit:,}",
        )


def _quality(record: FilterRecord) -> Iterator[tuple[str | None, ...]]:
    """Name, accuracy, precision, recall, agreement with SetFit, speed of each kind."""
    for kind, quality in record.held_out.items():
        speed = record.documents_per_cpu_second.get(kind)
        yield (
            KIND_NAMES.get(kind, kind),
            _percent(quality.accuracy),
            _percent(quality.precision),
            _percent(quality.recall),
            _percent(record.agreement.get(kind), 2),
            None if speed is None else f"{speed:,.0f}",
        )


def _percent(share: float | None, digits: int = 1) -> str | None:
    return None if share is None else f"{share:.{digits}%}"
