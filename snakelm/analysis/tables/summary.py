"""summary.html: the verdict, the settings in words, what the run cost, and the command that runs it
again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...evaluation.records import STAGES, Interval, ModelScores
from ..changed_settings import changed_keys, describe_settings
from ..cost import step_costs, total_cost
from ..manifests import StepManifest, TrainingResult
from ..pages import write_page
from ..run_record import RunRecord
from ..units import duration, energy, human, money
from ..verdict import VerdictScores, resume_count, sentences, verdict_scores, warnings

__all__ = ["write_summary"]

LONGEST_VALUE = 300  # characters of a setting; the page of the configuration has all of it


@dataclass(frozen=True)
class Headline:
    """The number that decides, and the compressor's beside it."""

    bits: str
    better: bool  # than the compressor
    clean: bool  # whether both are of the clean documents
    compressor: str | None


@dataclass(frozen=True)
class ComparedScore:
    """A line of the comparison: the model or a baseline, with a bar of ``percent`` width."""

    name: str
    is_model: bool
    percent: str
    all_documents: str
    clean_documents: str


@dataclass(frozen=True)
class SummaryPage:
    """What the page shows."""

    headline: Headline | None
    sentences: list[str]
    warnings: list[str]
    tuned: tuple[float, float] | None  # loss on held-out answers before and after tuning
    comparison: list[ComparedScore]
    tasks: list[list[str]]  # name, chance, base model, tuned model
    settings: list[tuple[str, str]]
    preset: str
    changed: list[list[str]]  # key, value, the preset's
    facts: list[tuple[str, str]]
    rerun: str | None


def write_summary(record: RunRecord, path: str | Path) -> None:
    """The page a report opens with."""
    scores = verdict_scores(record)
    page = SummaryPage(
        headline=_headline(scores),
        sentences=sentences(scores),
        warnings=warnings(record),
        tuned=_tuned(record),
        comparison=_comparison(scores),
        tasks=list(_tasks(record)),
        settings=describe_settings(record.config),
        preset=record.config.preset,
        changed=[[text[:LONGEST_VALUE] for text in row] for row in changed_keys(record.config)],
        facts=[(name, value) for name, value in _facts(record) if value],
        rerun=record.rerun,
    )
    write_page(path, "summary.html", page=page)


def _headline(scores: VerdictScores) -> Headline | None:
    model, compressor, clean = scores.deciding()
    if model is None:
        return None

    better = compressor is not None and model < compressor and not scores.undecided()
    return Headline(
        f"{model:.3f}", better, clean, None if compressor is None else f"{compressor:.3f}"
    )


def _tuned(record: RunRecord) -> tuple[float, float] | None:
    """What instruction tuning did to held-out answers; nothing for a run without it.

    As the evaluation measured it, in float32; where tuning began with another model than this run's
    base, where preferences have changed the model since, or before the evaluation, as tuning itself
    did.
    """
    if record.config.export != "sft":
        return None

    held_out = record.evaluation.held_out if record.evaluation else {}
    base, tuned = (held_out[stage].answers if stage in held_out else None for stage in STAGES)
    config = record.config
    if base and tuned and config.sft.base is None and not config.preferences.sources:
        return base.value, tuned.value

    result = record.training_result("train_sft")
    if result.val_loss_before is None or result.val_loss is None:
        return None
    return result.val_loss_before, result.val_loss


def _comparison(scores: VerdictScores) -> list[ComparedScore]:
    """The model among the baselines."""
    named = (
        ("this model", scores.model),
        ("PPMd, primed with the training text", scores.ppmd),
        ("xz -9e, held-out text alone", scores.xz),
        ("token frequencies alone", scores.unigram),
    )
    known = [(name, pair) for name, pair in named if pair != (None, None)]
    longest = max((bits for _, pair in known for bits in pair if bits is not None), default=1.0)
    clean = scores.clean_decides()

    return [
        ComparedScore(
            name,
            is_model=pair is scores.model,
            percent=f"{100 * (pair[clean] or 0.0) / longest:.1f}%",
            all_documents=_bits(pair[0]),
            clean_documents=_bits(pair[1]),
        )
        for name, pair in known
    ]


def _bits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _tasks(record: RunRecord) -> Iterator[list[str]]:
    """Right answers of both models in each task; tasks that this run was not given are left out."""
    for name, task in record.evaluation.results().items() if record.evaluation else ():
        chance = "–" if task.chance is None else f"{task.chance:.0%}"
        yield [name, chance, _interval(_share(task.base)), _interval(_share(task.tuned))]


def _share(scores: ModelScores | None) -> Interval | None:
    """The share of right answers: of choices, or of answers word for word."""
    return scores.acc or scores.exact if scores else None


def _interval(score: Interval | None) -> str:
    return f"{score.value:.0%} ({score.bounds('.0%', '–')})" if score else "–"


def _facts(record: RunRecord) -> Iterator[tuple[str, str | None]]:
    metrics, result, train = record.metrics, record.training_result(), record.config.train
    tokens, epochs = metrics.last("tokens"), metrics.last("epoch")
    step, speed = metrics.last("step"), metrics.last("tokens_per_second")
    resumed = resume_count(record)

    yield "parameters", None if result.parameters is None else f"{result.parameters:,}"
    yield (
        "training tokens",
        f"{human(tokens)} ({epochs:.2f} epochs of the training text)"
        if tokens and epochs
        else None,
    )
    yield "started from", _base(record)
    yield "went on from", _earlier(record)
    yield "steps", None if step is None else f"{step:,.0f} of {train.steps:,}"
    yield "against learning the text by heart", _held_back(result)
    yield "weights", _weights(result)
    yield "training time", duration(metrics.last("seconds"))
    yield "training CPU time", duration(metrics.last("cpu_seconds") or None)
    yield "energy and cost of all steps", _cost(record)
    yield "speed at the end", f"{human(speed)} tokens per second" if speed else None
    yield "resumed", f"{resumed}×" if resumed else None
    yield "preset", record.config.preset
    yield "run", result.fingerprint
    yield "host", _host(record)
    yield "git commit", record.commit


def _base(record: RunRecord) -> str | None:
    """The model that pretraining went on from, and what it gave."""
    base, result = record.started_from(), record.training_result()
    if base.name is None:
        return None

    name = f"{base.name} (SHA-256 {base.sha256[:12]}…)"
    before, after = result.val_bpb_before, result.val_bpb
    if before is None or after is None:
        return name
    return (
        f"{name}: held-out text {before:.3f} bits per byte before the first step, {after:.3f} now"
    )


def _earlier(record: RunRecord) -> str | None:
    """The run whose flat part this one shares."""
    before = record.training_result().continues
    if before.fingerprint is None:
        return None
    return f"step {before.step:,} of run {before.fingerprint}; its time counts above"


def _held_back(result: TrainingResult) -> str | None:
    """`dropout 0.1, weight_decay 0.3 (repeated text)`; nothing where nothing was on."""
    settings = ", ".join(f"{name} {value}" for name, value in result.regime.settings.items())
    return f"{settings} ({result.regime.name} text)" if settings else None


def _weights(result: TrainingResult) -> str | None:
    """Which the model has, where they aren't the last ones."""
    if result.weights_of_step is None:
        return None
    return f"those of step {result.weights_of_step:,}, the best evaluation (train.keep_best)"


def _cost(record: RunRecord) -> str | None:
    steps = step_costs(record)
    if not steps:
        return None

    total, currency = total_cost(steps), record.config.cost.currency
    return f"{energy(total.kwh)}, {money(total.money, currency)} (estimates)"


def _host(record: RunRecord) -> str | None:
    """The machine that trained; of a run that hasn't, the one that did its last step."""
    trained = record.made_by("train", StepManifest)
    for manifest in trained or list(record.manifests.values())[-1:]:
        parts = sorted(manifest.host.items())
        return ", ".join(f"{v} CPUs" if key == "cpus" else str(v) for key, v in parts)
    return None
