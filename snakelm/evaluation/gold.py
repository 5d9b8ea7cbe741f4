"""Which of an item's choices is the right one: what the answers of a whole test set mean.

Benchmarks name the right choice in four ways: by its text, by its label or letter, by its number
from 0 (HellaSwag, PIQA, MMLU), by its number from 1 (WinoGrande, SIQA). One answer alone often
fits several: of the choices "4", "0", "1" an answer "0" is the second by its text and the first by
its number. So the columns decide where a benchmark is known by them; else a reading must give
every row of the test set a choice, and no two such readings may differ. What is left open is
refused, with both readings, and `tasks[].gold` settles it.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import UserError

__all__ = ["Answered", "gold_choices"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BRACKETED = re.compile(r"[(\[]?(\w+)[)\].:]?")  # `(B)` and `B.` are B
UNLIKELY = 0.01  # chance that the first choice is never right, below which nobody counts from 0


@dataclass(frozen=True)
class Answered:
    """The choices of an item and its answer as the file has it, not yet understood."""

    place: str  # file and row
    choices: tuple[str, ...]
    labels: tuple[str, ...]  # given beside the choices; empty: letters
    answer: object
    convention: str | None = None  # the reading that its columns stand for


def gold_choices(rows: Sequence[Answered], given: str = "auto") -> tuple[list[int], str]:
    """The number of each row's right choice, from 0, and in words how the answers were read.

    ``given``: a reading, or auto. Raises UserError for an answer that is none of the choices, and
    where auto can't tell.
    """
    gold, words = [0] * len(rows), []
    for convention in dict.fromkeys(row.convention for row in rows):
        numbers = [i for i, row in enumerate(rows) if row.convention == convention]
        some = [rows[i] for i in numbers]
        name = _reading(some) if given == "auto" else CHOSEN.get(given, given)

        for i, row in zip(numbers, some, strict=True):
            choice = READINGS[name](row)
            if choice is None:
                raise UserError(_none_of_them(row, f" read as {WORDS[name]}"))
            gold[i] = choice
        words.append(WORDS[name])
    return gold, " or ".join(dict.fromkeys(words))


def _reading(rows: Sequence[Answered]) -> str:
    """The name of the reading that the rows, all of one convention, leave."""
    fitting = {
        name: choices
        for name, read in READINGS.items()
        if None not in (choices := [read(row) for row in rows])
    }
    if (usual := rows[0].convention) is not None and usual in fitting:
        return usual

    names = list(fitting)
    for i, row in enumerate(rows):
        texts = {name: row.choices[fitting[name][i] or 0] for name in names}
        if len(set(texts.values())) > 1:
            raise UserError(_several(row, texts))

    if not names:
        raise UserError(_none_of_them(_first_misfit(rows)))
    if names[0] in ("from_1", "letter_or_from_1") and not _counts_from_1(rows):
        row = next(row for row in rows if _from_0(row) is None)
        hint = (
            " when they count from 0, and too few rows say that they count from 1; if they do, set "
            "tasks[].gold: from_1"
        )
        raise UserError(_none_of_them(row, hint))
    return names[0]


def _counts_from_1(rows: Sequence[Answered]) -> bool:
    """Whether answers that count from 0 would have named the first choice by now."""
    numbers = [row for row in rows if _number(row.answer) is not None]
    never = math.prod(1 - 1 / len(row.choices) for row in numbers)
    return never < UNLIKELY or len(numbers) < len(rows)  # letters beside numbers, as ARC has them


def _several(row: Answered, texts: dict[str, str]) -> str:
    (first, one), (second, other) = next(
        ((name, text), (also, differs))
        for name, text in texts.items()
        for also, differs in texts.items()
        if text != differs
    )
    choices = [name for name in texts if name not in CHOSEN.values()]
    return (
        f"{row.place}: the answer {_shown(row.answer)} is ambiguous: taken as {WORDS[first]} it is "
        f"{one[:40]!r}, as {WORDS[second]} it is {other[:40]!r}, and both fit every row; set "
        f"tasks[].gold: {' or '.join(choices)}"
    )


def _none_of_them(row: Answered, how: str = "") -> str:
    return (
        f"{row.place}: the answer {_shown(row.answer)} is none of the {len(row.choices)} "
        f"choices{how}"
    )


def _first_misfit(rows: Sequence[Answered]) -> Answered:
    """The first row that breaks the reading which gets furthest."""
    breaks = [
        next(i for i, row in enumerate(rows) if read(row) is None) for read in READINGS.values()
    ]
    return rows[max(breaks)]


def _shown(answer: object) -> str:
    return repr(str(answer)[:60])


def _by_text(row: Answered) -> int | None:
    if isinstance(row.answer, bool) or not isinstance(row.answer, str | int | float):
        return None
    text = str(row.answer)
    if text in row.choices:
        return row.choices.index(text)
    stripped = [choice.strip() for choice in row.choices]
    return stripped.index(text.strip()) if text.strip() in stripped else None


def _by_label(row: Answered) -> int | None:
    if isinstance(row.answer, bool) or not isinstance(row.answer, str | int):
        return None
    labels = row.labels or tuple(LETTERS[: len(row.choices)])
    text = str(row.answer).strip()
    if text in labels:
        return labels.index(text)
    bare = BRACKETED.fullmatch(text)
    upper = [label.upper() for label in labels]
    return upper.index(bare[1].upper()) if bare and bare[1].upper() in upper else None


def _from_0(row: Answered) -> int | None:
    number = _number(row.answer)
    return number if number is not None and 0 <= number < len(row.choices) else None


def _from_1(row: Answered) -> int | None:
    number = _number(row.answer)
    return number - 1 if number is not None and 1 <= number <= len(row.choices) else None


def _letter_or_from_1(row: Answered) -> int | None:
    letter = _by_label(row)
    return _from_1(row) if letter is None else letter


def _number(answer: object) -> int | None:
    """A whole number, as digits too; 1.0 is what pandas makes of one in a column with gaps."""
    if isinstance(answer, bool):
        return None
    if isinstance(answer, float):
        return int(answer) if answer.is_integer() else None
    if isinstance(answer, str):
        text = answer.strip()
        return int(text) if text.isascii() and text.isdigit() else None
    return answer if isinstance(answer, int) else None


READINGS: dict[str, Callable[[Answered], int | None]] = {
    "text": _by_text,
    "label": _by_label,
    "from_0": _from_0,
    "from_1": _from_1,
    "letter_or_from_1": _letter_or_from_1,
}
WORDS = {
    "text": "the text of a choice",
    "label": "the label or letter of a choice",
    "from_0": "the number of a choice, from 0",
    "from_1": "the number of a choice, from 1",
    "letter_or_from_1": "the letter of a choice, or its number from 1",
}
CHOSEN = {"from_1": "letter_or_from_1"}  # what a key of the configuration stands for
