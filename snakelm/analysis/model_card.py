"""The model card: what an exported model is, what went into it and under which licences, and how
good it is.

All of it from the run's manifests, its evaluation, and what the configuration says of licences. The
text is templates/model_card.md; the contents of its tables are computed here. What comes from a
corpus or a package is no Markdown of ours: every value is cut, and its marks are taken out of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..config import Config, Model, PreferenceSource, SftSource, Source
from ..evaluation.records import (
    FEW_BYTES_MORE,
    STAGES,
    EvaluationRecord,
    HeldOutText,
    Interval,
    Stage,
    read_baseline,
)
from ..publishing import is_after_folder, public_path
from ..workflow.manifest import manifest_path, read_manifest
from .licences import HUB, conversations_licence, source_licence
from .made_of import of_the_model, tuned_from_another
from .manifests import (
    CheckManifest,
    CollectManifest,
    DeduplicateManifest,
    FilterManifest,
    M,
    PacksManifest,
    SampleManifest,
    SplitManifest,
    StartedFrom,
    StepManifest,
    TrainManifest,
    made_by,
)
from .pages import render_markdown
from .preference_record import PreferencesManifest

__all__ = ["About", "model_card", "public_name"]

RESULTS = {
    "val_bpb": "bits per byte of held-out text",
    "val_bpb_clean": "bits per byte of held-out text that hardly repeats training text",
    "val_bpb_before": "bits per byte of held-out text before the first step",
    "val_loss_before": "held-out loss before the first step, nats per token",
    "val_loss": "held-out loss, nats per token",
}
HELD_OUT = {
    "all": "bits per byte of held-out text",
    "clean": "bits per byte of held-out text that hardly repeats training text",
    "answers": "loss on held-out answers, nats per token",
}
COMPRESSOR = "bits per byte of held-out text, a compressor that has read the training text"
SCORES = {
    "acc": "right",
    "acc_norm": "right, choices weighted by their length",
    "exact": "answered word for word",
    "loose": "answered, ignoring case and punctuation",
}


@dataclass(frozen=True)
class About:
    """The model itself."""

    shape: Model
    parameters: int
    vocab_size: int
    chat: bool  # whether it was tuned on conversations
    pattern: str = ""  # of its tokenizer
    config: Config = field(default_factory=Config)


@dataclass(frozen=True)
class DataRow:
    """Something the model was trained on, how much of it, and its licence."""

    what: str
    taken: str
    licence: str


@dataclass(frozen=True)
class ScoreRow:
    """A measured value; ``interval`` is empty where nobody measured one."""

    stage: str
    what: str
    value: str
    interval: str = ""


@dataclass(frozen=True)
class TrainedFile:
    """A model file of the run, by which this model can be traced."""

    name: str
    sha256: str
    seed: int | None
    torch: str


def model_card(
    about: About, artefacts: Sequence[str | Path] = (), evaluation: EvaluationRecord | None = None
) -> str:
    """Markdown. ``artefacts``: files of the run with manifests beside them, whose seals are
    verified; those without one are left out.
    """
    manifests = {
        str(path): StepManifest.model_validate(read_manifest(path))
        for path in artefacts
        if manifest_path(path).is_file()
    }
    other = tuned_from_another(list(manifests.values()))
    steps = of_the_model(list(manifests.values()))
    manifests = {path: one for path, one in manifests.items() if one in steps}

    # What evaluate measured replaces what training said of itself: the same numbers, with
    # intervals. Where tuning began with another model, this run's own is none of this one's stages.
    stages: Sequence[Stage] = STAGES[1:] if other else STAGES
    measured = list(_evaluated(evaluation, stages)) if evaluation else []
    measured = measured or list(_trained(steps))
    return render_markdown(
        "model_card.md",
        about=about,
        hub=HUB,
        architecture="Qwen3" if about.shape.qk_norm else "Llama",
        data=[
            *_packages(steps),
            *_sources(about.config, steps),
            *_packed(about.config, steps),
        ],
        counts=list(_counts(steps)),
        scores=[*measured, *_compressors(manifests)],
        trained=list(_trained_files(steps)),
        base=other or next(iter(_bases(steps)), None),
    )


def _packages(manifests: Sequence[StepManifest]) -> Iterator[DataRow]:
    for manifest in made_by(manifests, "collect", CollectManifest):
        for package in manifest.collected.packages:
            yield DataRow(
                f"{package.package} {package.version}, docstrings",
                f"{package.documents or 0:,} documents",
                package.licence or "unknown",
            )


def _sources(config: Config, manifests: Sequence[StepManifest]) -> Iterator[DataRow]:
    """Every source as it was sampled: with its owner's licence, or that of what is built in."""
    sources = {source.name: source for source in config.sources}
    for manifest in made_by(manifests, "sample_data", SampleManifest):
        name, files = manifest.artefact.stem, len(manifest.inputs)
        source = sources.get(name)
        shown = public_name(source, list(sources).index(name)) if source else name
        builtin = source.builtin if source else None

        kind = f"built in: {builtin}" if builtin else f"{files:,} file{'s' * (files != 1)}"
        yield DataRow(
            f"source {shown} ({kind})",
            f"{manifest.taken:,} documents",
            source_licence(source),
        )


def public_name(source: Source, index: int) -> str:
    """A source's name, unless it was made from a folder on somebody's machine: then its number."""
    return f"{index + 1}" if is_after_folder(source.name, source.path) else str(source.name)


def _packed(config: Config, manifests: Sequence[StepManifest]) -> Iterator[DataRow]:
    """Every source of conversations, and of preferences."""
    talks = made_by(manifests, "prepare_sft_data", PacksManifest)[:1]
    yield from _packed_sources("conversations", "conversations", talks, config.sft_data.sources)
    pairs = made_by(manifests, "prepare_preferences", PreferencesManifest)[:1]
    yield from _packed_sources("preferences", "pairs or answers", pairs, config.preferences.sources)


def _packed_sources(
    what: str,
    unit: str,
    manifests: Sequence[PacksManifest | PreferencesManifest],
    sources: Sequence[SftSource | PreferenceSource],
) -> Iterator[DataRow]:
    for manifest in manifests:
        for counts in manifest.sources:
            yield DataRow(
                f"{what} of {', '.join(map(public_path, counts.name.split(', ')))}",
                f"{counts.kept:,} {unit}",
                conversations_licence(counts.name, sources),
            )


def _counts(manifests: Sequence[StepManifest]) -> Iterator[str]:
    """What became of the documents, in the order of the workflow."""

    def first(step: str, kind: type[M]) -> M | None:
        return next(iter(made_by(manifests, step, kind)), None)

    for step, manifest in (
        ("without duplicates", first("deduplicate", DeduplicateManifest)),
        ("without what was to be forgotten", first("forget", CheckManifest)),
        ("looked through for personal data", first("personal_data", CheckManifest)),
        ("in the languages to keep", first("languages", CheckManifest)),
        ("after quality rules", first("quality", CheckManifest)),
        ("kept by the filter", first("filter_dataset", FilterManifest)),
        ("without text of evaluation sets", first("decontaminate", CheckManifest)),
    ):
        if manifest and manifest.documents is not None:
            yield f"{manifest.documents:,} {step}"

    split = first("prepare_data", SplitManifest)
    if split and split.train and split.val:
        train, val = split.train, split.val
        size = f"{train.tokens:,} tokens, {train.text_bytes:,} bytes"
        different = train.documents if train.different is None else train.different
        again = train.documents - different
        size += f", with {again:,} repeats" if again else ""
        yield f"{different:,} used for training ({size})"
        yield f"{val.documents:,} held out"


def _evaluated(evaluation: EvaluationRecord, stages: Sequence[Stage]) -> Iterator[ScoreRow]:
    shown = {"base": "base", "tuned": "with preferences" if evaluation.preferred else "tuned"}
    for stage, held_out in evaluation.held_out.items():
        for key, what in HELD_OUT.items() if stage in stages else ():
            name, score = shown[stage], getattr(held_out, key)
            yield from _score(name, what, score, ".4f")
            yield from _by_character(name, what, score, evaluation.text, clean=key == "clean")

    for task_name, task in evaluation.results().items():
        chance = "" if task.chance is None else f", chance {task.chance:.1%}"
        for stage in stages:
            scores = task.of(stage)
            for key, what in SCORES.items() if scores else ():
                score, asked = getattr(scores, key), f"{task_name}: {what}{chance}"
                yield from _score(shown[stage], asked, score, ".1%")


def _by_character(
    stage: str, what: str, score: Interval | None, text: HeldOutText | None, clean: bool
) -> Iterator[ScoreRow]:
    """Bits per character, where the text's script has several bytes for some."""
    each = text.bytes_per_character(clean) if text and "byte" in what else None
    if score and each and each > 1 + FEW_BYTES_MORE:
        yield ScoreRow(stage, what.replace("byte", "character"), f"{score.value * each:.4f}")


def _score(stage: str, what: str, score: Interval | None, style: str) -> Iterator[ScoreRow]:
    if score is None:
        return

    yield ScoreRow(stage, what, f"{score.value:{style}}", score.bounds(style))


def _trained(manifests: Sequence[StepManifest]) -> Iterator[ScoreRow]:
    for step, stage in (("train", "pretraining"), ("train_sft", "tuning")):
        for manifest in made_by(manifests, step, TrainManifest):
            for key, what in RESULTS.items():
                value = getattr(manifest.result, key)
                if value is not None:
                    yield ScoreRow(stage, what, f"{value:.4f}")


def _compressors(manifests: Mapping[str, StepManifest]) -> Iterator[ScoreRow]:
    for path, manifest in manifests.items():
        if manifest.step == "baseline" and Path(path).is_file():
            bits = read_baseline(path).ppmd.bpb
            yield ScoreRow("for comparison", COMPRESSOR, f"{bits:.4f}")


def _bases(manifests: Sequence[StepManifest]) -> Iterator[StartedFrom]:
    """The model that this one was trained further from."""
    for manifest in made_by(manifests, "train", TrainManifest):
        if manifest.base.name:
            yield manifest.base


def _trained_files(manifests: Sequence[StepManifest]) -> Iterator[TrainedFile]:
    """The models of all trainings, as far as there are any."""
    for step in ("train", "train_sft", "train_preferences"):
        for manifest in made_by(manifests, step, TrainManifest)[:1]:
            name = Path(manifest.artefact.path).name
            torch = manifest.versions.get("torch", "")
            yield TrainedFile(name, manifest.artefact.sha256, manifest.seed, torch)
