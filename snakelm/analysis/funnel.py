"""How many documents each step of the preparation let through, by source, and why the others were
dropped.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from .manifests import (
    CheckManifest,
    DeduplicateManifest,
    FilterManifest,
    SampleManifest,
    SplitManifest,
    SplitPart,
)
from .run_record import RunRecord

__all__ = ["FunnelStage", "funnel"]


@dataclass(frozen=True)
class FunnelStage:
    """Documents after a step. ``dropped``: reason → documents that this step took out."""

    name: str
    documents: dict[str, int]  # source → documents; "" where the step doesn't tell sources apart
    dropped: dict[str, int] = field(default_factory=dict)
    tokens: int | None = None
    repeated: int = 0  # documents beside those, that repeat some of them

    @property
    def total(self) -> int:
        """Documents of all sources."""
        return sum(self.documents.values())


def funnel(record: RunRecord) -> list[FunnelStage]:
    """The stages that manifests tell of, in the order of the workflow; none at all is an empty
    list.
    """
    return [
        *_sampled(record),
        *_deduplicated(record),
        *_checked(record, "forget", "without what is forgotten"),
        *_checked(record, "personal_data", "looked through for personal data"),
        *_checked(record, "languages", "in the languages to keep"),
        *_checked(record, "quality", "after quality rules"),
        *_filtered(record),
        *_checked(record, "decontaminate", "decontaminated"),
        *_split(record),
    ]


def _sampled(record: RunRecord) -> list[FunnelStage]:
    read: dict[str, int] = {}
    taken: dict[str, int] = {}
    dropped: Counter[str] = Counter()

    for manifest in record.made_by("sample_data", SampleManifest):
        source, counts = manifest.artefact.stem, manifest
        read[source] = counts.read or 0
        taken[source] = counts.taken

        dropped.update({"null": counts.null, "empty": counts.empty, **counts.invalid})
        dropped["not sampled (fraction, limit)"] += max(0, counts.kept - counts.taken)

    if not read:
        return []
    return [FunnelStage("read", read), FunnelStage("sampled", taken, _without_zeros(dropped))]


def _deduplicated(record: RunRecord) -> list[FunnelStage]:
    """Two stages of one step: exact copies go first, near ones after them."""
    manifests = record.made_by("deduplicate", DeduplicateManifest)
    sources = manifests[0].sources if manifests else {}
    if not sources:
        return []

    exact = {"exact copies": sum(counts.exact for counts in sources.values())}
    near = {"near copies": sum(counts.near for counts in sources.values())}
    left = {source: counts.kept + counts.near for source, counts in sources.items()}
    kept = {source: counts.kept for source, counts in sources.items()}
    return [
        FunnelStage("without exact copies", left, _without_zeros(exact)),
        FunnelStage("without near copies", kept, _without_zeros(near)),
    ]


def _checked(record: RunRecord, step: str, name: str) -> list[FunnelStage]:
    """Of a step that counts, per source, the documents kept and those dropped by reason."""
    manifests = record.made_by(step, CheckManifest)
    if not manifests:
        return []

    sources = manifests[0].sources
    dropped: Counter[str] = Counter()
    for counts in sources.values():
        dropped.update(counts.dropped)

    kept = {source: counts.kept for source, counts in sources.items()}
    return [FunnelStage(name, kept, _without_zeros(dropped))]


def _filtered(record: RunRecord) -> list[FunnelStage]:
    manifests = record.made_by("filter_dataset", FilterManifest)
    if not manifests:
        return []

    sources = manifests[0].sources
    kept = {source: counts.kept for source, counts in sources.items()}
    dropped = sum(counts.documents for counts in sources.values()) - sum(kept.values())
    return [FunnelStage("academic", kept, _without_zeros({"not academic": dropped}))]


def _split(record: RunRecord) -> list[FunnelStage]:
    """Training and held-out documents, each once; the token files don't tell which source a
    document is from.
    """
    manifests = record.made_by("prepare_data", SplitManifest)
    if not manifests:
        return []

    parts = {"for training": manifests[0].train, "held out": manifests[0].val}
    return [_once(name, part) for name, part in parts.items() if part]


def _once(name: str, part: SplitPart) -> FunnelStage:
    different = part.documents if part.different is None else part.different
    return FunnelStage(
        name, {"": different}, tokens=part.tokens, repeated=part.documents - different
    )


def _without_zeros(dropped: Mapping[str, int]) -> dict[str, int]:
    return {reason: documents for reason, documents in dropped.items() if documents}
