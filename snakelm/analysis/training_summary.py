"""The public summary of training content that European law asks of providers of general-purpose AI
models: Article 53(1)(d) of Regulation (EU) 2024/1689, in the sections of the AI Office's template
of July 2025.

What manifests and configuration know stands in it; what only a person knows is a marked blank, and
nothing is guessed. Which kind a source is of (a public data set, licensed, crawled …) is
`sources[].kind`; without it the source is listed as one to be assigned. The text is
templates/training_summary.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..config import Config, PreferenceSource, SftSource, Source
from ..files import human_bytes
from ..publishing import public_path, public_url
from ..workflow.manifest import manifest_path, read_manifest
from .licences import UNKNOWN, conversations_licence, source_licence
from .made_of import of_the_model, tuned_from_another
from .manifests import (
    CheckManifest,
    CollectManifest,
    DeduplicateManifest,
    LanguagesManifest,
    M,
    PacksManifest,
    PersonalDataManifest,
    SampleManifest,
    SplitManifest,
    StartedFrom,
    StepManifest,
    TrainManifest,
    made_by,
)
from .model_card import public_name
from .pages import render_markdown
from .preference_record import PreferencesManifest

__all__ = ["BLANK", "SECTIONS", "training_summary"]

BLANK = "**TO BE FILLED IN:**"


class SummarySection(NamedTuple):
    """A section of the template, and what it asks beside a list of sources."""

    number: str
    title: str
    asks: tuple[str, ...] = ()


# `kind` of a source → where the template has it.
SECTIONS = {
    "public": SummarySection("2.1", "Publicly available data sets"),
    "licensed": SummarySection("2.2.1", "Licensed by rightsholders or for them"),
    "private": SummarySection("2.2.2", "Other private data sets"),
    "crawled": SummarySection(
        "2.3",
        "Data crawled and scraped from the web",
        (
            "Crawlers, by name and owner; how they treat robots.txt, logins and captchas",
            "Period of crawling",
            "Kinds of sites, and the domains most taken from",
        ),
    ),
    "user": SummarySection("2.4", "Data of users", ("Services and interactions that it is from",)),
    "synthetic": SummarySection("2.5", "Data made by AI models", ("Models that made it",)),
    "other": SummarySection("2.6", "Other sources"),
}
BUILTIN = {
    "docs": "docstrings of software packages that were installed on the training machine",
    "synthetic": "sentences that a program wrote by rules; no AI model took part",
    "everyday": "small talk and adverts that a program wrote by rules; no AI model took part",
}
QUESTIONS = (
    "questions and answers that a program made of docstrings by rules; no AI model took part"
)
SIZES = ((1e9, "less than 1 billion tokens"), (1e13, "1 billion to 10 trillion tokens"))
LARGEST = "more than 10 trillion tokens"
# The last of these that ran says how much of a source was left.
CHECKS = ("decontaminate", "filter_dataset", "quality", "languages", "personal_data", "forget")


@dataclass(frozen=True)
class SummarySource:
    """A source of documents or conversations, and how much of it was used."""

    name: str
    what: str
    section: str | None  # of the template; None where nobody said its kind
    amount: str
    licence: str | None  # None where nobody stated it
    read: str | None  # date on which this run read it, and so the latest that it was acquired on


def training_summary(config: Config, artefacts: Sequence[str | Path]) -> str:
    """Markdown. ``artefacts``: files of the run with manifests beside them, whose seals are
    verified; those without one are left out.
    """
    paths = [path for path in artefacts if manifest_path(path).is_file()]
    every = [StepManifest.model_validate(read_manifest(path)) for path in paths]
    other, steps = tuned_from_another(every), of_the_model(every)
    read_text = other is None or _first(steps, "prepare_data", SplitManifest) is not None
    sources = [
        *(_documents(config, steps) if read_text else ()),
        *_conversations(config, steps),
        *_preferences(config, steps),
    ]
    tokens = _tokens(steps)
    personal = _first(steps, "personal_data", PersonalDataManifest)

    return render_markdown(
        "training_summary.md",
        blank=BLANK,
        publish=config.publish,
        base=other or _base(steps),
        tokens=tokens,
        text_bytes=human_bytes(_text_bytes(steps)),
        repeats=_repeats(steps),
        size=_size(tokens),
        latest=max((one.read for one in sources if one.read), default=None),
        languages=_languages(steps),
        sources={
            section: [one for one in sources if one.section == section]
            for section in (*(one.number for one in SECTIONS.values()), None)
        },
        sections=list(SECTIONS.values()),
        personal=personal,
        found=_found(personal),
        forgotten=_dropped(steps, "forget"),
        checks=list(_checks(steps)),
    )


def _first(steps: Sequence[StepManifest], step: str, kind: type[M]) -> M | None:
    return next(iter(made_by(steps, step, kind)), None)


def _documents(config: Config, steps: Sequence[StepManifest]) -> Iterator[SummarySource]:
    collected = {m.artefact.stem: m for m in made_by(steps, "collect", CollectManifest)}
    sampled = {m.artefact.stem: m for m in made_by(steps, "sample_data", SampleManifest)}
    kept = _kept(steps)

    for index, source in enumerate(config.sources):
        name = str(source.name)
        read = collected.get(name) or sampled.get(name)
        documents, size = kept.get(name, (0, 0))
        yield SummarySource(
            name=public_name(source, index),
            what=_what(source, sampled.get(name)),
            section=_section(source),
            amount=f"{documents:,} documents, {human_bytes(size)}",
            licence=_of_packages(collected.get(name)) or _stated(source_licence(source)),
            read=read.created[:10] if read and read.created else None,
        )


def _of_packages(manifest: CollectManifest | None) -> str | None:
    """The licences of the packages whose docstrings were taken; None for another source."""
    packages = manifest.collected.packages if manifest else ()
    return ", ".join(sorted({one.licence or "unknown" for one in packages})) or None


def _conversations(config: Config, steps: Sequence[StepManifest]) -> Iterator[SummarySource]:
    packs = _first(steps, "prepare_sft_data", PacksManifest)
    each = packs.sources if packs else ()
    for source, counts in zip(config.sft_data.sources, each, strict=False):
        shown = ", ".join(map(public_path, counts.name.split(", ")))
        yield SummarySource(
            name=f"conversations of {shown}",
            what=QUESTIONS if source.builtin else "conversations",
            section=_section(source),
            amount=f"{counts.kept:,} conversations",
            licence=_stated(conversations_licence(counts.name, config.sft_data.sources)),
            read=packs.created[:10] if packs and packs.created else None,
        )


def _preferences(config: Config, steps: Sequence[StepManifest]) -> Iterator[SummarySource]:
    packs = _first(steps, "prepare_preferences", PreferencesManifest)
    each = packs.sources if packs else ()
    for number, (source, counts) in enumerate(zip(config.preferences.sources, each, strict=False)):
        yield SummarySource(
            name=f"preferences {number + 1}",
            what=QUESTIONS if source.builtin else "answers, and which of them are wanted",
            section=_section(source),
            amount=f"{counts.kept:,} pairs or answers",
            licence=source.licence,
            read=packs.created[:10] if packs and packs.created else None,
        )


def _section(source: Source | SftSource | PreferenceSource) -> str | None:
    """Of the template. What is built in is no data set that others publish, and no AI's."""
    kind = source.kind or ("other" if source.builtin else None)
    return SECTIONS[kind].number if kind else None


def _stated(licence: str) -> str | None:
    return None if licence == UNKNOWN else licence


def _what(source: Source, sampled: SampleManifest | None) -> str:
    if source.builtin:
        return BUILTIN.get(source.builtin, source.builtin)
    if source.url:
        urls = [source.url] if isinstance(source.url, str) else source.url
        return ", ".join(map(public_url, urls))
    files = len(sampled.inputs) if sampled else 0
    return f"{files:,} local file{'s' * (files != 1)}"


def _kept(steps: Sequence[StepManifest]) -> dict[str, tuple[int, int]]:
    """Source → documents and bytes of text that are left after the last check, before the split."""
    for step in (*CHECKS, "deduplicate"):
        if manifest := _first(steps, step, CheckManifest):
            counts = manifest.sources.items()
            return {name: (one.kept, one.kept_bytes) for name, one in counts}
    return {}


def _tokens(steps: Sequence[StepManifest]) -> int:
    """Of training text, conversations and preferences together."""
    parts = (
        _first(steps, "prepare_data", SplitManifest),
        _first(steps, "prepare_sft_data", PacksManifest),
        _first(steps, "prepare_preferences", PreferencesManifest),
    )
    return sum(part.train.tokens for part in parts if part and part.train)


def _text_bytes(steps: Sequence[StepManifest]) -> int:
    split = _first(steps, "prepare_data", SplitManifest)
    return split.train.text_bytes if split and split.train else 0


def _repeats(steps: Sequence[StepManifest]) -> int:
    """Training documents that are there again, as a source's weight has it."""
    split = _first(steps, "prepare_data", SplitManifest)
    part = split.train if split else None
    return part.documents - part.different if part and part.different is not None else 0


def _size(tokens: int) -> str:
    """The template's range."""
    return next((words for most, words in SIZES if tokens < most), LARGEST)


def _base(steps: Sequence[StepManifest]) -> StartedFrom | None:
    """The model that pretraining went on from."""
    bases = (manifest.base for manifest in made_by(steps, "train", TrainManifest))
    return next((base for base in bases if base.name), None)


def _languages(steps: Sequence[StepManifest]) -> str | None:
    """Languages by share of the documents that stayed; None where nobody told them."""
    told = _first(steps, "languages", LanguagesManifest)
    if not told:
        return None
    kept = {
        language: sum(one.kept for one in sources.values())
        for language, sources in told.languages.items()
    }
    total = sum(kept.values())
    shares = sorted(kept.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {count / total:.1%}" for name, count in shares if count) or None


def _found(manifest: PersonalDataManifest | None) -> str:
    """Places of personal data by kind."""
    found: dict[str, int] = {}
    for counts in manifest.sources.values() if manifest else ():
        for kind, count in counts.found.items():
            found[kind] = found.get(kind, 0) + count
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(found.items())) or "none"


def _dropped(steps: Sequence[StepManifest], step: str) -> int | None:
    """Documents that a check took out; None where it didn't run."""
    manifest = _first(steps, step, CheckManifest)
    if not manifest:
        return None
    return sum(sum(counts.dropped.values()) for counts in manifest.sources.values())


def _checks(steps: Sequence[StepManifest]) -> Iterator[str]:
    """What else the documents went through, with what it took out."""
    duplicates = _first(steps, "deduplicate", DeduplicateManifest)
    if duplicates:
        exact, near = (
            sum(getattr(counts, kind) for counts in duplicates.sources.values())
            for kind in ("exact", "near")
        )
        yield f"duplicates: {exact:,} exact and {near:,} near copies taken out"

    names: Mapping[str, str] = {
        "quality": "rules on the quality of text",
        "languages": "languages that are not wanted",
        "decontaminate": "text of evaluation sets",
    }
    for step, what in names.items():
        if (count := _dropped(steps, step)) is not None:
            yield f"{what}: {count:,} documents taken out"
