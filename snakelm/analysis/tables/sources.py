"""sources.html: where the documents come from: each source, its files by hash, what was taken of
it, and its licence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...config import Source
from ...files import human_bytes
from ...publishing import publishable
from ..funnel import FunnelStage, funnel
from ..licences import source_licence
from ..manifests import (
    CollectManifest,
    FileRecord,
    LanguagesManifest,
    Package,
    PersonalDataManifest,
    SampleManifest,
)
from ..pages import write_page
from ..run_record import RunRecord

__all__ = ["write_sources"]

MOST_FILES = 200  # of a source that are listed; the manifest has all
MOST_LANGUAGES = 40  # that are listed; the manifest has all
LONGEST = 2000  # characters of a list of file names


@dataclass(frozen=True)
class ManyColumns:
    """A table with as many columns as there are steps or sources."""

    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class PersonalDataFound:
    """Counts by source and kind, and what was done with what was found."""

    action: str
    rows: list[list[str]]


@dataclass(frozen=True)
class ShownSource:
    """A source, as far as its manifests tell."""

    name: str
    facts: list[tuple[str, str]]
    files: Sequence[FileRecord]
    more_files: int  # files that are not listed
    packages: Sequence[Package]


def write_sources(record: RunRecord, path: str | Path) -> None:
    """The page of sources; one that wasn't sampled yet has only what the configuration says."""
    sampled = {m.artefact.stem: m for m in record.made_by("sample_data", SampleManifest)}
    collected = {m.artefact.stem: m for m in record.made_by("collect", CollectManifest)}
    sources = [
        _shown(
            source,
            sampled.get(str(source.name), SampleManifest()),
            collected.get(str(source.name), CollectManifest()).collected.packages,
        )
        for source in record.config.sources
    ]

    write_page(
        path,
        "sources.html",
        stages=_by_stage(funnel(record)),
        personal_data=_by_kind(record.made_by("personal_data", PersonalDataManifest)),
        languages=_by_language(record.made_by("languages", LanguagesManifest)),
        sources=sources,
    )


def _by_stage(stages: Sequence[FunnelStage]) -> ManyColumns | None:
    by_source = [stage for stage in stages if "" not in stage.documents]
    if not by_source:
        return None

    names = sorted({name for stage in by_source for name in stage.documents})
    rows = [[name, *(f"{s.documents.get(name, 0):,}" for s in by_source)] for name in names]
    if len(names) > 1:
        rows.append(["all", *(f"{stage.total:,}" for stage in by_source)])
    return ManyColumns(["source", *(stage.name for stage in by_source)], rows)


def _by_kind(manifests: Sequence[PersonalDataManifest]) -> PersonalDataFound | None:
    """Personal data by source and kind; None where nobody looked."""
    if not manifests:
        return None

    rows = [
        [
            name,
            kind,
            f"{counts.found.get(kind, 0):,}",
            f"{counts.documents_with.get(kind, 0):,}",
            f"{counts.excepted.get(kind, 0):,}",
        ]
        for name, counts in manifests[0].sources.items()
        for kind in sorted(counts.found.keys() | counts.excepted.keys())
    ]
    return PersonalDataFound(manifests[0].action, rows)


def _by_language(manifests: Sequence[LanguagesManifest]) -> ManyColumns | None:
    """Documents of each source in each language; None where languages weren't told."""
    found = manifests[0].languages if manifests else {}
    if not found:
        return None

    names = sorted({name for sources in found.values() for name in sources})
    rows = []
    for language, sources in list(found.items())[:MOST_LANGUAGES]:
        each = [f"{sources[name].documents:,}" if name in sources else "" for name in names]
        kept = sum(counts.kept for counts in sources.values())
        size = human_bytes(sum(counts.bytes for counts in sources.values()))
        rows.append([language, *each, size, f"{kept:,}"])
    return ManyColumns(["language", *names, "text", "kept"], rows)


def _shown(source: Source, sampled: SampleManifest, packages: Sequence[Package]) -> ShownSource:
    return ShownSource(
        name=str(source.name),
        facts=list(_facts(source, sampled, licensed_by_package=bool(packages))),
        files=[
            file.model_copy(update={"path": publishable(file.path)})
            for file in sampled.inputs[:MOST_FILES]
        ],
        more_files=max(0, len(sampled.inputs) - MOST_FILES),
        packages=packages,
    )


def _facts(
    source: Source, sampled: SampleManifest, licensed_by_package: bool
) -> Iterator[tuple[str, str]]:
    given = source.path or source.url or f"built in: {source.builtin}"
    places = [given] if isinstance(given, str) else given
    yield "from", ", ".join(map(publishable, places))

    if source.licence or not licensed_by_package:  # else the packages say it, below
        yield "licence", source_licence(source)

    counts = sampled
    if counts.read is not None:
        unfit = f", {counts.unfit:,} of them unfit" if counts.unfit else ""
        yield "rows read", f"{counts.read:,}{unfit}"
        yield "documents taken", f"{counts.taken:,}"

    if sampled.text_bytes is not None:
        yield "text", human_bytes(sampled.text_bytes)
    if counts.bad_files:
        yield "unreadable files", ", ".join(map(publishable, counts.bad_files))[:LONGEST]
    if counts.duplicate_files:
        yield "files given twice", ", ".join(map(publishable, counts.duplicate_files))[:LONGEST]
