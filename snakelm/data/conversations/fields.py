"""What a row's columns and a turn's keys say beside the words: what isn't to be learned, what else
the model would have to know.

Everything has one of these fates:

    a mark of an answer           honoured: the answer stays in the conversation and isn't learned
    a mark of a row               honoured: the row is left out where it says so
    what a conversation here      the row is left out, by a counted reason
      can't hold
    a known detail                passed over
    anything else                 passed over, and counted by name

A value that is null or empty, or a list of such, is as good as none: parquet has one for every
field that any of its rows has.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .field_names import (
    ONLY_BOOLEAN,
    REASONS,
    WITHIN,
    Meaning,
    is_mark,
    meaning,
    meant,
    plain,
)

__all__ = ["Rejected", "check_row", "check_turn", "is_empty", "is_learned", "unread"]

Kinds = tuple[Meaning | None, ...]

YES = {"true", "yes", "y", "on", "t"}
NO = {"false", "no", "n", "off", "f"}
EMPTY = {"", "null", "none", "nan", "n/a", "[]", "{}"}
DEEPEST = 8  # levels of lists in lists that are looked through for a value
MARKS: Kinds = ("learn", "judge", "mask", "choice")
LOOSE: Kinds = ("judge", "choice")  # may be anything else as well
OF_TURNS: Kinds = (None, "marks", *MARKS)
OF_ROWS: Kinds = ("held", "marks", *MARKS)


class Rejected(Exception):
    """A row that is not a conversation; the message is the reason it is counted under."""


def is_empty(value: Any, depth: int = 0) -> bool:
    """Whether a value says nothing: null, NaN, blank, or a list or an object of nothing else."""
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip().lower() in EMPTY
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return depth < DEEPEST and all(is_empty(one, depth + 1) for one in value)
    return isinstance(value, float) and math.isnan(value)


def is_learned(turn: Mapping[str, Any]) -> bool:
    """Whether a turn of the assistant is to be learned, by all marks it has; `Rejected` where a
    mark is neither yes nor no: half a weight has no place in a mask.
    """
    learned = True
    for name, kind in meant(tuple(turn), OF_TURNS):
        value = turn[name]
        if (kind is None and not is_mark(name)) or is_empty(value):
            continue
        if kind is None:
            raise Rejected(f"a mark that nobody knows, {name}")
        if kind == "marks" or (kind not in LOOSE and isinstance(value, list | dict)):
            raise Rejected(WITHIN)

        _check_direction(name, value)
        given = _allows(name, kind, value)
        if given is None and kind not in LOOSE:
            what = "yes nor no" if _number(value) is None else "all nor nothing"
            raise Rejected(f"{name} neither {what}")
        learned = learned and given is not False
    return learned


def check_row(row: Mapping[str, Any]) -> None:
    """`Rejected` where a row is marked as not to be learned, or has beside its turns what a
    conversation can't hold.
    """
    for name, kind in meant(tuple(row), OF_ROWS):
        value = row[name]
        if is_empty(value):
            continue
        if kind == "held":
            _check_held(name, value)
            continue
        if kind == "marks" or (kind in ("learn", "mask") and isinstance(value, list | dict)):
            raise Rejected("marks of the turns in a list")

        _check_direction(name, value)
        given = _allows(name, kind, value)
        if given is None and kind == "learn" and "weight" in plain(name):
            raise Rejected(f"{name} neither all nor nothing")
        if given is False:
            raise Rejected(f"not to be learned by {name}")


def _check_held(name: str, value: Any) -> None:
    """`Rejected` for a value that a conversation of texts can't hold."""
    given = _yes(value) if isinstance(value, bool | str) else None
    switch = given is False or (given is True and plain(name) in ("reasoning", "thinking"))
    if not switch:  # "reasoning": "off" tells how, not what
        raise Rejected(REASONS[plain(name)])


def check_turn(turn: Mapping[str, Any]) -> None:
    """`Rejected` where a turn has beside its content what a conversation can't hold."""
    for name, _ in meant(tuple(turn), ("held",)):
        if not is_empty(turn[name]):
            _check_held(name, turn[name])

    kind = turn.get("type")
    if isinstance(kind, str) and meaning(kind) == "held":
        raise Rejected(REASONS[plain(kind)])


def unread(values: Mapping[str, Any], read: Collection[str], row: bool = True) -> Iterator[str]:
    """Names in a ``row``, or in a turn, that have a value and that nobody reads or knows; ``read``
    are those that the row's format reads.
    """
    unknown: Kinds = (None,) if row else (None, "system", "history")
    marks: Kinds = ("learn", "judge", "mask") if row else MARKS
    for name, kind in meant(tuple(values), (*unknown, *marks)):
        value = values[name]
        if name in read or is_empty(value):
            continue
        if kind in unknown or _allows(name, kind, value) is None:
            yield name


def _allows(name: str, kind: Meaning | None, value: Any) -> bool | None:
    """Whether a mark lets what it stands at be learned; None where it doesn't say."""
    text = value.strip().lower() if isinstance(value, str) else None
    boolean = isinstance(value, bool) or text in ("true", "false")
    if kind == "choice":  # chosen: false, rejected: true; else the answers themselves
        return _yes(value) is (plain(name) != "rejected") if boolean else None
    if plain(name) in ONLY_BOOLEAN and not boolean:
        return None

    given = _yes(value)
    return given if given is None or kind != "mask" else not given


def _check_direction(name: str, value: Any) -> None:
    """`Rejected` for a mask in numbers: of those that are around, 1 hides in some and shows in
    others.
    """
    if plain(name) == "mask" and not isinstance(value, bool) and _number(value) is not None:
        raise Rejected("a mask of 0 or 1, which can mean either")


def _yes(value: Any) -> bool | None:
    """A mark as yes or no; None for what is neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str) and value.strip().lower() in YES | NO:
        return value.strip().lower() in YES
    number = _number(value)
    return bool(number) if number in (0, 1) else None


def _number(value: Any) -> float | None:
    """A number, also as text or as a decimal of parquet."""
    if isinstance(value, list | tuple | Mapping):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
