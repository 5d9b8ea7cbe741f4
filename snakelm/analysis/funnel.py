"""How many documents each step of the preparation let through, by source, and why the others
went.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .run_record import Record

__all__ = ["Stage", "funnel"]


@dataclass(frozen=True)
class Stage:
    """Documents after a step. ``dropped``: reason → documents that this step took out."""

    name: str
    documents: dict[str, int]  # source → documents
    dropped: dict[str, int] = field(default_factory=dict)
    tokens: int | None = None

    @property
    def total(self) -> int:
        """Documents of all sources."""
        return sum(self.documents.values())


def funnel(record: Record) -> list[Stage]:
    """The stages that manifests tell of, in order; none at all is an empty list."""
    passed, clean = (
        _checked(record, "quality", "of quality"),
        _checked(record, "decontaminate", "decontaminated"),
    )
    checks = [*passed, *_filtered(record), *clean]
    return [*_sampled(record), *_deduplicated(record), *checks, *_split(record)]


def _sampled(record: Record) -> list[Stage]:
    read: dict[str, int] = {}
    taken: dict[str, int] = {}
    unfit: dict[str, int] = {}
    not_chosen = 0
    for manifest in record.made_by("sample_data"):
        counts = _mapping(manifest.get("counts"))
        source = _source_of(manifest)
        read[source] = _count(counts.get("read"))
        taken[source] = _count(counts.get("taken"))
        reasons = {
            "null": counts.get("null"),
            "empty": counts.get("empty"),
            **_mapping(counts.get("invalid")),
        }
        for reason, documents in reasons.items():
            unfit[str(reason)] = unfit.get(str(reason), 0) + _count(documents)
        not_chosen += max(0, _count(counts.get("kept")) - taken[source])
    if not read:
        return []
    dropped = {**unfit, "not sampled (fraction, limit)": not_chosen}
    return [Stage("read", read), Stage("sampled", taken, _some(dropped))]


def _deduplicated(record: Record) -> list[Stage]:
    exact: dict[str, int] = {}
    near: dict[str, int] = {}
    dropped = {"exact": 0, "near": 0}
    for manifest in record.made_by("deduplicate")[:1]:
        for source, counts in _mapping(manifest.get("sources")).items():
            counts = _mapping(counts)
            for kind in dropped:
                dropped[kind] += _count(counts.get(kind))
            near[source] = _count(counts.get("kept"))
            exact[source] = near[source] + _count(counts.get("near"))
    if not near:
        return []
    return [
        Stage("without exact copies", exact, _some({"exact copies": dropped["exact"]})),
        Stage("without near copies", near, _some({"near copies": dropped["near"]})),
    ]


def _checked(record: Record, step: str, name: str) -> list[Stage]:
    """What a check let through that counts, per source, the documents kept and those dropped by
    reason.
    """
    for manifest in record.made_by(step):
        kept: dict[str, int] = {}
        dropped: dict[str, int] = {}
        for source, counts in _mapping(manifest.get("sources")).items():
            kept[source] = _count(_mapping(counts).get("kept"))
            for reason, documents in _mapping(_mapping(counts).get("dropped")).items():
                dropped[reason] = dropped.get(reason, 0) + _count(documents)
        return [Stage(name, kept, _some(dropped))]
    return []


def _filtered(record: Record) -> list[Stage]:
    for manifest in record.made_by("filter_dataset"):
        sources = {
            name: _mapping(counts) for name, counts in _mapping(manifest.get("sources")).items()
        }
        kept = {name: _count(counts.get("kept")) for name, counts in sources.items()}
        dropped = sum(_count(counts.get("documents")) for counts in sources.values()) - sum(
            kept.values()
        )
        return [Stage("academic", kept, _some({"not academic": dropped}))]
    return []


def _split(record: Record) -> list[Stage]:
    """Training and held-out documents; the token files don't say which source a document is
    from.
    """
    for manifest in record.made_by("prepare_data"):
        parts = [
            ("for training", _mapping(manifest.get("train"))),
            ("held out", _mapping(manifest.get("val"))),
        ]
        return [
            Stage(name, {"": _count(part.get("documents"))}, tokens=_count(part.get("tokens")))
            for name, part in parts
            if part
        ]
    return []


def _source_of(manifest: Mapping[str, Any]) -> str:
    """`…/sampled/docs.parquet` → `docs`."""
    name = (
        str(_mapping(manifest.get("artefact")).get("path", "?"))
        .replace("\\", "/")
        .rsplit("/", 1)[-1]
    )
    return name.removesuffix(".parquet")


def _some(dropped: Mapping[str, int]) -> dict[str, int]:
    return {reason: documents for reason, documents in dropped.items() if documents}


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value == value else 0
