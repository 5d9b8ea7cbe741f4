"""A task's items from a person's own parquet or JSONL, by the column names that such files have.

    question    question, query, ctx, context, prompt, text, input or goal: the first of these that is there
    choices     choices, endings or options: texts, or an object of `text` and `label` lists as ARC has it
    answer      answer, gold, label, answerKey or target. choice: a choice's text, its label or letter, or its number
                from 0. greedy: the text, or several of which any will do

A test set must be whole: a damaged row or one without an answer is an error with its place, never
left out in silence.
"""

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Task
from ..data.parquet import BadFile
from ..data.reading.formats import file_format
from ..data.reading.readers import expand
from ..data.reading.records import columns_of, records
from ..data.split import document_ids, mixed
from ..errors import UserError

__all__ = ["Item", "chosen_items", "read_items", "shot_order", "solved", "task_files"]

QUESTION = ("question", "query", "ctx", "context", "prompt", "text", "input", "goal")
CHOICES = ("choices", "endings", "options")
ANSWER = ("answer", "gold", "label", "answerKey", "target")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Item:
    """``gold`` is the right one of ``choices``; of a greedy item all ``choices`` are right, and
    ``gold`` is 0.
    """

    question: str
    choices: tuple[str, ...]
    gold: int

    def key(self) -> bytes:
        """What an item is chosen by."""
        return json.dumps([self.question, self.choices], ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )


def task_files(task: Task) -> list[Path]:
    """The files of a task, globs expanded; none for one that is built in."""
    return expand(task.path, f"tasks[].path of {task.name}") if task.path else []


def read_items(files: Iterable[Path], kind: str) -> list[Item]:
    """All items of the files, in order; UserError with file and row for what is none."""
    items: list[Item] = []
    for file in files:
        try:
            form = file_format(file)
            if form == "text":
                raise BadFile("a text file, expected items as JSONL or parquet")
            columns = columns_of(file, form)
            for number, (row, problem) in enumerate(
                records(file, form, {name: name for name in columns})
            ):
                if row is None:
                    raise BadFile(f"row {number}: {problem}; a test set must be whole")
                items.append(_item(row, kind, number))
        except BadFile as bad:
            raise UserError(f"{file}: {bad.why}") from None
    if not items:
        raise UserError(
            f"{', '.join(map(str, files)) or 'no file'}: no items; a task needs at least one"
        )
    return items


def chosen_items(items: list[Item], limit: int | None, seed: int) -> list[int]:
    """Numbers of the items that are asked, ascending: all, or ``limit`` of them by hash."""
    if limit is None or len(items) <= limit:
        return list(range(len(items)))
    return sorted(_by_hash(items, seed, "task")[:limit])


def shot_order(items: list[Item], seed: int) -> list[int]:
    """Numbers of the items in the order in which they are taken as solved ones."""
    return _by_hash(items, seed, "shots")


def solved(items: list[Item], number: int, order: list[int], shots: int) -> list[Item]:
    """The first ``shots`` items of ``order``, to stand before item ``number``: never the item
    itself.
    """
    found = list(itertools.islice((items[i] for i in order if items[i] != items[number]), shots))
    if len(found) < shots:
        raise UserError(
            f"tasks[].shots: {shots} solved items asked for, {len(found)} others are there; ask for fewer"
        )
    return found


def _by_hash(items: list[Item], seed: int, purpose: str) -> list[int]:
    return np.argsort(
        mixed(document_ids([item.key() for item in items]), seed, purpose), kind="stable"
    ).tolist()


def _item(row: Mapping[str, Any], kind: str, number: int) -> Item:
    question = _first(row, QUESTION, number)
    if not isinstance(question, str):
        raise BadFile(f"row {number}: the question is a {type(question).__name__}, expected text")
    if kind == "greedy":
        return Item(question, _accepted(_first(row, ANSWER, number), number), 0)
    texts, labels = _choices(_first(row, CHOICES, number), number)
    return Item(question, texts, _gold(_first(row, ANSWER, number), texts, labels, number))


def _first(row: Mapping[str, Any], names: tuple[str, ...], number: int) -> Any:
    found = next((row[name] for name in names if row.get(name) is not None), None)
    if found is None:
        raise BadFile(
            f"row {number}: none of {', '.join(names)} says anything; columns are {', '.join(map(str, row)) or 'none'}"
        )
    return found


def _accepted(value: Any, number: int) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    found = tuple(
        str(v) for v in values if isinstance(v, str | int | float) and not isinstance(v, bool)
    )
    if not found or not all(text.strip() for text in found):
        raise BadFile(f"row {number}: the answer is empty, or no text")
    return found


def _choices(value: Any, number: int) -> tuple[tuple[str, ...], list[str]]:
    labels = list(LETTERS)
    if isinstance(value, Mapping):
        labels = [str(label) for label in value.get("label") or labels]
        value = value.get("text")
    if (
        not isinstance(value, list)
        or len(value) < 2
        or not all(isinstance(v, str) and v for v in value)
    ):
        raise BadFile(
            f"row {number}: the choices are {str(value)[:60]!r}; expected a list of at least two texts"
        )
    return tuple(value), labels


def _gold(value: Any, texts: tuple[str, ...], labels: list[str], number: int) -> int:
    """The number of the right choice."""
    found = value
    if isinstance(value, str):
        known = (
            [texts.index(value)]
            if value in texts
            else [i for i, label in enumerate(labels) if label == value]
        )
        found = known[0] if known else int(value) if value.isascii() and value.isdigit() else None
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < len(texts):
        raise BadFile(
            f"row {number}: the answer {str(value)[:60]!r} is none of the {len(texts)} choices"
        )
    return found
