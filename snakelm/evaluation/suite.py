"""All of a configuration's tasks for all of a run's models: evaluation.json.

Items are read and checked before any model is loaded: a mistake in a file shows in a second.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..config import Config, Task
from ..data.bins import open_bin
from ..data.packs import open_packs
from ..errors import UserError
from ..files import atomic_path
from ..log import Log
from ..tokenizer import Tokenizer
from . import builtin
from .items import Item, chosen_items, read_items, shot_order, solved, task_files
from .loading import device_for, open_model
from .tasks import Question, ask, questions

__all__ = ["Gathered", "gathered", "lines", "suite", "write_lines"]

EXAMPLES, CUT = 4, 400  # items shown of a task, characters of each text
NOT_TUNED = "needs conversations, and this run tunes no model (export: base)"


class Places(Protocol):
    """Where a run's files are; ``tuned`` is None where nothing was tuned."""

    base: Path
    tuned: Path | None
    processed: Path
    tokenizer: str
    loss: Path
    threads: int | None


@dataclass(frozen=True)
class Gathered:
    """A task with its items; of a built-in one they are made once the model's context is known."""

    task: Task
    files: list[Path]
    items: list[Item]


def gathered(config: Config, at: Places, log: Log) -> list[Gathered]:
    """Every task that can be asked; UserError for a file with something else than items."""
    found = []
    for task in config.tasks:
        files = task_files(task)
        items = read_items(files, task.kind) if files else []
        log.say(
            f"{task.name}: {len(items):,} items in {len(files)} files"
            if files
            else f"{task.name}: built in"
        )
        found.append(Gathered(task, files, items))
    return found


def suite(
    config: Config, at: Places, tasks: list[Gathered], log: Log
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """evaluation.json's content and a record of every item for every model."""
    tokenizer = Tokenizer.load(at.tokenizer)
    device = device_for(config.train, at.threads, log)
    table: dict[str, Any] = {"held_out": _held_out(at.loss), "tasks": {}}
    records = []
    for stage, file in (("base", at.base), ("tuned", at.tuned)):
        if file is None:
            continue
        model, record = open_model(file, tokenizer, device)
        for one in tasks:
            asked, why = _questions(one, at, tokenizer, model.shape.context, config.seed)
            told = table["tasks"].setdefault(one.task.name, _head(one.task, asked, why))
            if asked:
                chat = bool(record.get("chat"))
                log.say(f"{one.task.name}: {len(asked):,} items, {stage} model")
                told[stage], made = ask(
                    model, tokenizer, asked, one.task.kind, chat, log, one.task.name
                )
                told[stage] |= {
                    "as": "conversation" if chat and one.task.kind == "greedy" else "text"
                }
                told[stage] |= {"cut": sum(r["cut"] for r in made), "examples": _examples(made)}
                records += [{"task": one.task.name, "model": stage, **r} for r in made]
        del model
    return table, records


def lines(table: dict[str, Any]) -> Iterator[str]:
    """A line a task and model, for the log."""
    for name, task in table["tasks"].items():
        if "left_out" in task:
            yield f"{name}: left out: {task['left_out']}"
        for stage in ("base", "tuned"):
            for key in ("acc", "acc_norm", "exact", "loose"):
                if key in task.get(stage, {}):
                    v = task[stage][key]
                    yield f"{name}, {stage}: {key} {v['value']:.1%} ({v['low']:.1%} to {v['high']:.1%})"


def write_lines(path: str | Path, records: Iterable[dict[str, Any]]) -> None:
    """JSON lines, atomically."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _questions(
    one: Gathered, at: Places, tokenizer: Tokenizer, context: int, seed: int
) -> tuple[list[Question], str | None]:
    """What is asked of the task, or nothing and why."""
    task, made = one.task, one.items
    if task.builtin == "continuation":
        val = open_bin(at.processed / "val.bin", tokenizer.sha256, verify=False)
        made = builtin.continuation(val, tokenizer, context, seed)
        if not made:
            return [], f"fewer than {builtin.CHOICES} held-out documents are long enough"
    if task.builtin == "answers":
        if at.tuned is None:
            return [], NOT_TUNED
        made = builtin.answers(
            open_packs(at.processed / "val_sft_packed.bin", tokenizer.sha256), tokenizer
        )
    plain = [getattr(item, "item", item) for item in made]
    chosen = chosen_items(plain, task.limit, seed)
    order = shot_order(plain, seed) if task.shots else []
    before = [solved(plain, i, order, task.shots) for i in chosen]
    return questions([made[i] for i in chosen], before), None


def _head(task: Task, asked: list[Question], why: str | None) -> dict[str, Any]:
    if why is not None:
        return {"kind": task.kind, "left_out": why}
    told = {"kind": task.kind, "items": len(asked), "shots": task.shots, "builtin": task.builtin}
    if task.kind == "choice":
        told["chance"] = round(sum(1 / len(q.item.choices) for q in asked) / len(asked), 6)
    return told


def _held_out(loss: Path) -> dict[str, Any]:
    try:
        found = json.loads(loss.read_text(encoding="utf-8"))
        return {
            stage: {key: values[key] for key in ("all", "clean", "answers")}
            for stage, values in found["stages"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{loss}: not what loss writes; delete it and run loss again") from None


def _examples(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some items for the report: as many right as wrong ones, as far as there are any."""
    key = "acc" if records and "acc" in records[0] else "exact"
    right, wrong = ([r for r in records if r[key] is value] for value in (True, False))
    half = EXAMPLES // 2
    some = [*right[: max(half, EXAMPLES - len(wrong))], *wrong[: max(half, EXAMPLES - len(right))]]
    return [{name: _cut(value) for name, value in record.items()} for record in some[:EXAMPLES]]


def _cut(value: Any) -> Any:
    if isinstance(value, list):
        return [_cut(one) for one in value[:8]]
    return value[: CUT - 1] + "…" if isinstance(value, str) and len(value) > CUT else value
