"""What callers pass in, checked before the core sees it: the core refuses a wrong type with a print
of all its arguments, texts included.
"""

import operator
from collections.abc import Iterable, Sequence

from ..errors import UserError

__all__ = ["at_least", "check_special_name", "not_str", "special_names"]


def at_least(least: int, value: object, call: str, what: str) -> int:
    """The whole number ``value``; UserError below ``least``, TypeError for what is none."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        found = type(value).__name__
        raise TypeError(f"{call}: {what}: expected a whole number, found {found}") from None
    if number < least:
        raise UserError(f"{call}: {what} {number}; expected at least {least}")
    return number


def not_str(call: str, texts: Iterable[object]) -> str:
    """What to say of texts among which one isn't a str."""
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            return f"{call}: text {i}: expected str, found {type(text).__name__}"
    return f"{call}: expected str"


def special_names(names: Sequence[str], call: str) -> list[str]:
    """Names of special tokens, each once."""
    if isinstance(names, str):
        raise TypeError(f"{call}: special_tokens: expected a list of names; write [{names!r}]")
    for i, name in enumerate(names):
        check_special_name(name)
        if name in names[:i]:
            raise UserError(f"special token {name!r}: named twice; leave one out")
    return list(names)


def check_special_name(name: str) -> None:
    """UserError unless it can be a special token's."""
    if not isinstance(name, str):
        raise TypeError(f"special token {name!r}: expected str, found {type(name).__name__}")
    if not name or name.encode("utf-8", "ignore").decode() != name:
        raise UserError(f"special token {name!r}: the name is empty or not UTF-8; change it")
