"""evaluation.json: all of a configuration's tasks, put to all of a run's models.

Items are read and checked before any model is loaded: a mistake in a file shows in a second.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config, Task
from ..data.bins import open_bin
from ..data.packs import open_packs
from ..files import atomic_path
from ..log import Log
from ..tokenizer import Tokenizer
from .items import Item, read_items, task_files
from .loss_record import read_loss
from .questions import CONTINUATIONS, Question, answers, chosen_questions, continuation
from .records import (
    STAGES,
    ChoiceAnswer,
    EvaluationRecord,
    GreedyAnswer,
    HeldOutLoss,
    ModelScores,
    SkippedTask,
    Stage,
    TaskResult,
)
from .scoring import score
from .trained_model import device_for, open_model

__all__ = [
    "AnsweredItem",
    "EvaluatedTasks",
    "EvaluationFiles",
    "TaskItems",
    "evaluate_tasks",
    "read_tasks",
    "summary",
    "write_items",
]

EXAMPLES, CUT = 4, 400  # items shown of a task, characters of each text
CHOICES_SHOWN = 8
NOT_TUNED = "needs conversations, and this run tunes no model (export: base)"

Answer = ChoiceAnswer | GreedyAnswer


@dataclass(frozen=True)
class EvaluationFiles:
    """What the evaluation reads, beside the tasks' own files."""

    base: Path  # final_model.pt
    tuned: Path | None  # sft_model.pt, where the run tunes a model
    processed: Path  # folder of val.bin and val_sft_packed.bin
    tokenizer: Path  # folder
    loss: Path  # loss.json


@dataclass(frozen=True)
class TaskItems:
    """A task with its items; those of a built-in one are made once the model's context is known."""

    name: str
    task: Task
    files: list[Path]
    items: list[Item]


@dataclass(frozen=True)
class AnsweredItem:
    """A line of evaluation_items.jsonl."""

    task: str
    stage: Stage
    answer: Answer


@dataclass(frozen=True)
class EvaluatedTasks:
    """evaluation.json's content, and every item with what each model made of it."""

    record: EvaluationRecord
    items: list[AnsweredItem]


def read_tasks(config: Config, log: Log) -> list[TaskItems]:
    """Every task of the configuration; UserError for a file with something else than items."""
    tasks = []
    for task in config.tasks:
        files, name = task_files(task), str(task.name)
        how: list[str] = []
        items = read_items(files, task.kind, task.gold, how.append) if files else []
        source = f"{len(items):,} items in {len(files)} files" if files else "built in"
        log.say("; the answer is ".join([f"{name}: {source}", *how]))
        tasks.append(TaskItems(name, task, files, items))
    return tasks


def evaluate_tasks(
    config: Config, files: EvaluationFiles, tasks: list[TaskItems], threads: int | None, log: Log
) -> EvaluatedTasks:
    """Puts every task to every model; ``threads``: at most this many, None for all that are
    free.
    """
    tokenizer = Tokenizer.load(files.tokenizer)
    device = device_for(config.train.device, threads, log)
    measured = read_loss(files.loss)
    held_out = {
        stage: HeldOutLoss(all=loss.all, clean=loss.clean, answers=loss.answers)
        for stage, loss in measured.stages.items()
    }

    questions: dict[str, list[Question] | SkippedTask] = {}
    scores: dict[str, dict[Stage, ModelScores]] = {one.name: {} for one in tasks}
    items: list[AnsweredItem] = []

    for stage in STAGES:
        file = files.base if stage == "base" else files.tuned
        if file is None:
            continue
        model, record = open_model(file, tokenizer, device)
        if stage == "base":  # tuning leaves the context as it is
            context = model.shape.context
            questions = {
                one.name: _questions(one, files, tokenizer, context, config.seed) for one in tasks
            }

        chat = bool(record.get("chat"))
        for one in tasks:
            own, kind = questions[one.name], one.task.kind
            if isinstance(own, SkippedTask):
                continue
            log.say(f"{one.name}: {len(own):,} items, {stage} model")
            intervals, answered = score(model, tokenizer, own, kind, chat, log, one.name)
            scores[one.name][stage] = ModelScores(
                **intervals,
                form="conversation" if chat and kind == "greedy" else "text",
                cut=sum(answer.cut for answer in answered),
                out_of_reach=sum(
                    answer.out_of_reach for answer in answered if isinstance(answer, GreedyAnswer)
                ),
                examples=_examples(answered),
            )
            items += [AnsweredItem(one.name, stage, answer) for answer in answered]
        del model  # so that memory holds one model at a time

    results = {one.name: _result(one.task, questions[one.name], scores[one.name]) for one in tasks}
    return EvaluatedTasks(
        EvaluationRecord(
            text=measured.held_out,
            held_out=held_out,
            preferred=measured.preferred,
            tasks=results,
        ),
        items,
    )


def _questions(
    one: TaskItems, files: EvaluationFiles, tokenizer: Tokenizer, context: int, seed: int
) -> list[Question] | SkippedTask:
    """The questions of a task, or why it has none."""
    task = one.task
    if task.builtin == "continuation":
        val = open_bin(files.processed / "val.bin", tokenizer.sha256, verify=False)
        questions = continuation(val, tokenizer, context, seed)
        if not questions:
            reason = f"fewer than {CONTINUATIONS} held-out documents are long enough"
            return SkippedTask(kind=task.kind, reason=reason)
    elif task.builtin == "answers":
        if files.tuned is None:
            return SkippedTask(kind=task.kind, reason=NOT_TUNED)
        packs = open_packs(files.processed / "val_sft_packed.bin", tokenizer.sha256)
        questions = answers(packs, tokenizer)
        if not questions:
            return SkippedTask(kind=task.kind, reason="has no held-out conversation with an answer")
    else:
        questions = [Question(item) for item in one.items]
    return chosen_questions(questions, task.limit, task.shots, seed)


def _result(
    task: Task, questions: list[Question] | SkippedTask, scores: dict[Stage, ModelScores]
) -> TaskResult | SkippedTask:
    if isinstance(questions, SkippedTask):
        return questions
    result: dict[str, Any] = {"kind": task.kind, "items": len(questions), "shots": task.shots}
    if task.kind == "choice":
        guessed = sum(1 / len(question.item.choices) for question in questions)
        result["chance"] = round(guessed / len(questions), 6)
    return TaskResult.model_validate({**result, "builtin": task.builtin, **scores})


def _examples(answers: Sequence[Answer]) -> list[Answer]:
    """Some answers for the report: as many right as wrong ones, as far as there are any."""
    right = [answer for answer in answers if _is_right(answer)]
    wrong = [answer for answer in answers if not _is_right(answer)]
    half = EXAMPLES // 2
    some = [*right[: max(half, EXAMPLES - len(wrong))], *wrong[: max(half, EXAMPLES - len(right))]]
    return [_shortened(answer) for answer in some[:EXAMPLES]]


def _is_right(answer: Answer) -> bool:
    return answer.acc if isinstance(answer, ChoiceAnswer) else answer.exact


def _shortened(answer: Answer) -> Answer:
    values = {name: _cut(value) for name, value in answer.as_json().items()}
    return type(answer).model_validate(values)


def _cut(value: object) -> object:
    if isinstance(value, list):
        return [_cut(one) for one in value[:CHOICES_SHOWN]]
    return value[: CUT - 1] + "…" if isinstance(value, str) and len(value) > CUT else value


def summary(evaluation: EvaluationRecord) -> Iterator[str]:
    """A line for each task, model and score."""
    for name, task in evaluation.tasks.items():
        if isinstance(task, SkippedTask):
            yield f"{name}: left out: {task.reason}"
            continue
        for stage in STAGES:
            scores = task.of(stage)
            for key, one in scores.scores().items() if scores else ():
                yield f"{name}, {stage}: {key} {one.in_words('.1%')}"
            if scores and scores.out_of_reach:
                yield (
                    f"{name}, {stage}: {scores.out_of_reach:,} of {task.items:,} expected answers "
                    "are longer than what a model may say, and count as wrong"
                )


def write_items(path: str | Path, items: Iterable[AnsweredItem]) -> None:
    """evaluation_items.jsonl, atomically."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for one in items:
            line = {"task": one.task, "model": one.stage, **one.answer.as_json()}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
