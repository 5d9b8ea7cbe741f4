"""evaluation.html: what share of each task is right, with intervals; items to look at; the scatter
over seeds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...evaluation.records import (
    STAGES,
    ChoiceAnswer,
    EvaluationRecord,
    GreedyAnswer,
    SeedsRecord,
    Stage,
    TaskResult,
)
from ..figures.evaluation import MEASURE_NAMES
from ..figures.loss import stage_names
from ..pages import write_page
from .loss import TwoLines, two_lines

__all__ = ["write_evaluation"]

CUT = 300  # characters of a text
LONGEST_NAME = 60  # of a task


@dataclass(frozen=True)
class MeasureRow:
    """A task and a measure, with the score of each stage."""

    task: str
    measure: str
    scores: list[TwoLines | None]


@dataclass(frozen=True)
class ShownChoice:
    """An item with choices; of a long question the end is shown, which the choices go on."""

    question: str
    choices: list[tuple[str, str]]  # marks of the right one and of the model's, text


@dataclass(frozen=True)
class ShownAnswer:
    """An item with an answer; ``expected`` where that was wrong."""

    question: str
    right: bool
    answer: str
    expected: str | None


@dataclass(frozen=True)
class TaskExamples:
    """Some items of a task, and how they were put to which model."""

    task: str
    caption: str
    choices: list[ShownChoice]
    answers: list[ShownAnswer]


def write_evaluation(record: EvaluationRecord, seeds: SeedsRecord, path: str | Path) -> None:
    """The page of evaluation.json and seeds.json."""
    results, names = record.results(), stage_names(record)
    write_page(
        path,
        "evaluation.html",
        stage_names=list(stage_names(record).values()),
        rows=list(_rows(results)),
        skipped=[(name, task.reason) for name, task in record.skipped().items()],
        cut=[one for each in results.items() for one in _counted("cut", *each, names)],
        out_of_reach=[
            one for each in results.items() for one in _counted("out_of_reach", *each, names)
        ],
        seeds=seeds if seeds.runs[1:] or seeds.left_out else None,
        measures=_measures(seeds),
        examples=[_examples(name, task, stage_names(record)) for name, task in results.items()],
    )


def _counted(
    what: str, name: str, task: TaskResult, names: Mapping[Stage, str]
) -> Iterator[tuple[str, int, int]]:
    """A task with its items that are ``what``, and of how many; by model where they differ."""
    models = {stage: model for stage in STAGES if (model := task.of(stage))}
    counts = {names[stage]: getattr(model, what) for stage, model in models.items()}
    if len(set(counts.values())) == 1:
        counts = {"": next(iter(counts.values()))}
    for stage_name, count in counts.items():
        if count:
            yield (f"{name}, {stage_name}" if stage_name else name), count, task.items


def _rows(results: dict[str, TaskResult]) -> Iterator[MeasureRow]:
    for name, task in results.items():
        chance = "" if task.chance is None else f", guessing {task.chance:.0%}"
        for measure in task.base.scores():
            models = [task.of(stage) for stage in STAGES]
            yield MeasureRow(
                name[:LONGEST_NAME],
                f"{MEASURE_NAMES[measure]} · {task.items:,} items{chance}",
                [two_lines(model.scores()[measure], ".1%") if model else None for model in models],
            )


def _measures(seeds: SeedsRecord) -> list[tuple[str, str, str | None, int]]:
    """Name, mean, deviation and number of runs of each measured value."""
    return [
        (name, f"{one.mean:.4f}", None if one.sd is None else f"± {one.sd:.4f}", len(one.values))
        for name, one in seeds.measures.items()
    ]


def _examples(name: str, task: TaskResult, names: Mapping[Stage, str]) -> TaskExamples:
    stage: Stage = "tuned" if task.tuned else "base"
    model = task.tuned or task.base
    form = "in a conversation" if model.form == "conversation" else "as plain text"
    marks = "; ✓ the right choice, → the model's" if task.kind == "choice" else ""
    return TaskExamples(
        name[:LONGEST_NAME],
        f"{names[stage]}, put to the model {form}{marks}",
        [_choice(one) for one in model.examples if isinstance(one, ChoiceAnswer)],
        [_answer(one) for one in model.examples if isinstance(one, GreedyAnswer)],
    )


def _choice(answer: ChoiceAnswer) -> ShownChoice:
    choices = []
    for number, text in enumerate(answer.choices):
        right = "✓ " if number == answer.gold else "  "
        predicted = "→ " if number == answer.predicted else ""
        choices.append((right + predicted, text[:CUT]))
    return ShownChoice(answer.question[-CUT:], choices)


def _answer(answer: GreedyAnswer) -> ShownAnswer:
    expected = None if answer.exact else answer.answers[0][:CUT]
    return ShownAnswer(answer.question[:CUT], answer.exact, answer.answer[:CUT], expected)
