"""A task's items from the user's own parquet, JSONL or CSV.

benchmarks.py says which columns are the question, the choices and the answer; gold.py, which choice
the answers of the whole test set mean. An answer of a greedy item is a text, or several of which
any will do. A test set must be complete: a damaged row or one without an answer is an error with
its place, never left out silently.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..config import Task
from ..data.reading.formats import file_format
from ..data.reading.readers import expand
from ..data.reading.records import columns_of, records
from ..data.split import document_ids, mixed
from ..errors import UserError
from ..parquet import BadFile
from .benchmarks import answer_of, parsed_row, question_of
from .gold import Answered, gold_choices

__all__ = ["Item", "chosen_items", "read_items", "shot_order", "solved_items", "task_files"]

T = TypeVar("T")


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


def read_items(
    files: Iterable[Path],
    kind: str,
    gold: str = "auto",
    on_reading: Callable[[str], None] = lambda words: None,
) -> list[Item]:
    """All items of the files, in order, of the ``kind`` choice or greedy; UserError with file and
    row for what is none, and for answers that may mean several choices.

    ``gold``: what an answer is, as `tasks[].gold` has it. ``on_reading`` is told how the answers of
    items with choices were read.
    """
    files = list(files)
    rows = [placed for file in files for placed in _rows_of(file)]
    if not rows:
        names = ", ".join(map(str, files)) or "no file"
        raise UserError(f"{names}: no items; a task needs at least one")

    if kind == "greedy":
        return [_in_place(place, _greedy_item, row) for place, row in rows]

    parsed = [_in_place(place, parsed_row, row) for place, row in rows]
    answered = [
        Answered(place, one.choices, one.labels, one.answer, one.convention)
        for (place, _), one in zip(rows, parsed, strict=True)
    ]
    numbers, words = gold_choices(answered, gold)
    on_reading(words)
    return [
        Item(one.question, one.choices, number) for one, number in zip(parsed, numbers, strict=True)
    ]


def _rows_of(file: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Place and columns of every row."""
    try:
        form = file_format(file)
        if form == "text":
            raise BadFile("a text file, expected items as JSONL, CSV or parquet")

        columns = {name: name for name in columns_of(file, form)}
        for place, row, problem in records(file, form, columns):
            if row is None:
                raise BadFile(f"{place}: {problem}; a test set must be complete")
            yield place.of(file), row
    except BadFile as fault:
        raise UserError(f"{file}: {fault}") from None


def _in_place(
    place: str, parse: Callable[[Mapping[str, object]], T], row: Mapping[str, object]
) -> T:
    try:
        return parse(row)
    except BadFile as fault:
        raise UserError(f"{place}: {fault}") from None


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


def _greedy_item(row: Mapping[str, object]) -> Item:
    _, answer = answer_of(row)
    return Item(question_of(row), _accepted(answer), 0)


def _accepted(value: object) -> tuple[str, ...]:
    """The answers of a greedy item that count as right."""
    values = value if isinstance(value, list) else [value]
    texts = tuple(
        str(v) for v in values if isinstance(v, str | int | float) and not isinstance(v, bool)
    )
    if not texts or not all(text.strip() for text in texts):
        raise BadFile("the answer is empty, or no text")
    return texts
