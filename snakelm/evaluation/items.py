"""A task's items from the user's own parquet or JSONL, by the column names that such files have.

    question    question, query, ctx, context, prompt, text, input or goal: the first of these that is there
    choices     choices, endings or options: texts, or an object of `text` and `label` lists as ARC has it
    answer      answer, gold, label, answerKey or target. choice: a choice's text, its label or letter, or its number
                from 0. greedy: the text, or several of which any will do

A test set must be complete: a damaged row or one without an answer is an error with its place,
never left out silently.
"""  # noqa: E501 - a table

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import Task
from ..data.reading.formats import file_format
from ..data.reading.readers import expand
from ..data.reading.records import columns_of, records
from ..data.reading.rows import Place
from ..data.split import document_ids, mixed
from ..errors import UserError
from ..parquet import BadFile

__all__ = ["Item", "chosen_items", "read_items", "shot_order", "solved_items", "task_files"]

QUESTION = ("question", "query", "ctx", "context", "prompt", "text", "input", "goal")
CHOICES = ("choices", "endings", "options")
ANSWER = ("answer", "gold", "label", "answerKey", "target")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Item:
    """``gold`` is the number of the right one of ``choices``. Of a greedy item all ``choices`` are
    right, and ``gold`` is 0.
    """

    question: str
    choices: tuple[str, ...]
    gold: int

    def key(self) -> bytes:
        """What an item is chosen by."""
        content = json.dumps([self.question, self.choices], ensure_ascii=False)
        return content.encode("utf-8", "surrogatepass")


def task_files(task: Task) -> list[Path]:
    """The files of a task, globs expanded; none for one that is built in."""
    return expand(task.path, f"tasks[].path of {task.name}") if task.path else []


def read_items(files: Iterable[Path], kind: str) -> list[Item]:
    """All items of the files, in order, of the ``kind`` choice or greedy; UserError with file and
    row for what is none.
    """
    files, items = list(files), []
    for file in files:
        try:
            items += _items_of(file, kind)
        except BadFile as fault:
            raise UserError(f"{file}: {fault}") from None

    if not items:
        names = ", ".join(map(str, files)) or "no file"
        raise UserError(f"{names}: no items; a task needs at least one")
    return items


def _items_of(file: Path, kind: str) -> list[Item]:
    form = file_format(file)
    if form == "text":
        raise BadFile("a text file, expected items as JSONL or parquet")

    columns = {name: name for name in columns_of(file, form)}
    items = []
    for place, row, problem in records(file, form, columns):
        if row is None:
            raise BadFile(f"{place}: {problem}; a test set must be complete")
        items.append(_item(row, kind, place))
    return items


def chosen_items(items: list[Item], limit: int | None, seed: int) -> list[int]:
    """Numbers of the items to be used, ascending: all, or ``limit`` of them by hash."""
    if limit is None or len(items) <= limit:
        return list(range(len(items)))
    return sorted(_by_hash(items, seed, "task")[:limit])


def shot_order(items: list[Item], seed: int) -> list[int]:
    """Numbers of the items in the order in which they are taken as solved ones."""
    return _by_hash(items, seed, "shots")


def solved_items(items: list[Item], number: int, order: list[int], shots: int) -> list[Item]:
    """The first ``shots`` items of ``order``, to stand before item ``number``: never the item
    itself.
    """
    others = (items[i] for i in order if items[i] != items[number])
    solved = list(itertools.islice(others, shots))
    if len(solved) < shots:
        raise UserError(
            f"tasks[].shots: {shots} solved items are needed, {len(solved)} others are there; set "
            "it lower"
        )
    return solved


def _by_hash(items: list[Item], seed: int, purpose: str) -> list[int]:
    hashes = mixed(document_ids([item.key() for item in items]), seed, purpose)
    return np.argsort(hashes, kind="stable").tolist()


def _item(row: Mapping[str, object], kind: str, place: Place) -> Item:
    question = _first(row, QUESTION, place)
    if not isinstance(question, str):
        raise BadFile(f"{place}: the question is a {type(question).__name__}, expected text")
    if kind == "greedy":
        return Item(question, _accepted(_first(row, ANSWER, place), place), 0)

    texts, labels = _choices(_first(row, CHOICES, place), place)
    return Item(question, texts, _gold(_first(row, ANSWER, place), texts, labels, place))


def _first(row: Mapping[str, object], names: tuple[str, ...], place: Place) -> object:
    value = next((row[name] for name in names if row.get(name) is not None), None)
    if value is None:
        raise BadFile(
            f"{place}: none of {', '.join(names)} says anything; columns are "
            f"{', '.join(map(str, row)) or 'none'}"
        )
    return value


def _accepted(value: object, place: Place) -> tuple[str, ...]:
    """The answers of a greedy item that count as right."""
    values = value if isinstance(value, list) else [value]
    texts = tuple(
        str(v) for v in values if isinstance(v, str | int | float) and not isinstance(v, bool)
    )
    if not texts or not all(text.strip() for text in texts):
        raise BadFile(f"{place}: the answer is empty, or no text")
    return texts


def _choices(value: object, place: Place) -> tuple[tuple[str, ...], list[str]]:
    """(texts, labels)"""
    labels = list(LETTERS)
    if isinstance(value, Mapping):
        labels = [str(label) for label in value.get("label") or labels]
        value = value.get("text")

    texts = value if isinstance(value, list) else []
    if len(texts) < 2 or not all(isinstance(text, str) and text for text in texts):
        raise BadFile(
            f"{place}: the choices are {str(value)[:60]!r}; expected a list of at least two texts"
        )
    return tuple(texts), labels


def _gold(value: object, texts: tuple[str, ...], labels: list[str], place: Place) -> int:
    """The number of the right choice. A text counts before a label: of the choices "2", "1", "0"
    the answer "0" is the third.
    """
    gold = value
    if isinstance(value, str):
        if value in texts:
            gold = texts.index(value)
        elif value in labels:
            gold = labels.index(value)
        else:
            gold = int(value) if value.isascii() and value.isdigit() else None

    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(texts):
        raise BadFile(
            f"{place}: the answer {str(value)[:60]!r} is none of the {len(texts)} choices"
        )
    return gold
