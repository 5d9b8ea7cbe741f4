"""What is wrong with a configuration, in one line: the dotted key, what was found, what is allowed.

pydantic finds the faults, but words them for programmers ("Input should be a valid integer") and
over several lines. Only the place and the value are taken from it; what is allowed there is read
from the section's own fields.
"""

import datetime
import difflib
import math
import reprlib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..errors import UserError
from ..publishing import without_secrets
from .section import EXPONENT, MANY, Section

__all__ = ["allowed", "bounds", "choices", "read_section", "type_name"]

S = TypeVar("S", bound=Section)

TYPE_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
MOST_KEYS = 10  # that a message names beside the first
MOST_SHOWN = 120  # characters of a value

# A value may be as large as its file, or larger (YAML aliases), so it is shown in part.
SHOWN = reprlib.Repr()
SHOWN.maxlevel, SHOWN.maxlist, SHOWN.maxdict = 3, 6, 6
SHOWN.maxstring = SHOWN.maxother = SHOWN.maxlong = MOST_SHOWN


@dataclass(frozen=True)
class Fault:
    """A wrong key or value: its dotted path, what belongs there (None when the key is unknown), the
    section and the field that it is part of.
    """

    path: str
    belongs: Any
    section: type[Section]
    field: FieldInfo | None
    name: str
    value: Any


def read_section(kind: type[S], values: object, where: str = "") -> S:
    """``values``, a mapping from YAML or JSON, as an instance of the section ``kind``.

    ``where`` is the dotted path of the section itself. Raises a UserError of one line that says
    what is wrong with the first faulty key, and names the others.
    """
    values = dict(values) if isinstance(values, Mapping) else values
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)

    # Unknown keys go first, upper levels before lower ones: they may be why others are wrong.
    first, *others = sorted(
        _faults(kind, where, details),
        key=lambda fault: (fault.belongs is not None, fault.path.count(".")),
    )
    message = f"{first.path or 'config'}: {_message(first)}"
    if others:
        more = [fault.path for fault in others[:MOST_KEYS]]
        more += ["…"] * (len(others) > MOST_KEYS)
        message += f" (also wrong: {', '.join(more)})"
    raise UserError(without_secrets(message))


def _faults(kind: type[Section], where: str, details: list[ErrorDetails]) -> list[Fault]:
    """What pydantic found, each place once.

    Where `str | list[str]` belongs, pydantic reports a fault of each branch: a list with a wrong
    item is no text, and its item is wrong. Only the item is what the user wants to hear of.
    """
    faults = {fault.path: fault for fault in (_locate(kind, where, one) for one in details)}
    lists = {path.rpartition("[")[0] for path in faults if path.endswith("]")}
    return [fault for path, fault in faults.items() if path not in lists]


def _locate(kind: type[Section], where: str, detail: ErrorDetails) -> Fault:
    """Follows pydantic's path down from the section ``kind``, to what the schema says there."""
    path, section, belongs = where, kind, cast(Any, kind)
    field: FieldInfo | None = None

    rest = list(detail["loc"])
    while rest:
        part = rest.pop(0)
        members = _members(belongs)
        if len(members) > 1:  # ``part`` is pydantic's name for a branch of `str | list[str]`
            if not rest:
                break
            belongs = next(member for member in members if get_origin(member) is list)
        elif get_origin(members[0]) is list:
            path, belongs = f"{path}[{part}]", get_args(members[0])[0]
        elif get_origin(members[0]) is dict:
            if rest == ["[key]"]:
                break
            path, belongs = _join(path, part), get_args(members[0])[1]
        else:
            path, section = _join(path, part), members[0]
            field = section.model_fields.get(str(part))
            belongs = field.annotation if field else None
    name = str(detail["loc"][-1]) if detail["loc"] else ""
    return Fault(path, belongs, section, field, name, detail["input"])


def _message(fault: Fault) -> str:
    """What is wrong, without the path."""
    if fault.belongs is None:
        return f"unknown key; {_advice(fault.name, list(fault.section.model_fields))}"

    found, hint = _found(fault.belongs, fault.value), _hint(fault.belongs, fault.value)
    message = f"found {found}, allowed is {allowed(fault.belongs, fault.field)}"
    return f"{message}; {hint}" if hint else message


def _advice(unknown: str, known: list[str]) -> str:
    section, dot, name = unknown.partition(".")
    if dot and section in known:
        return f"write `{section}: {{{name}: …}}`"
    near = difflib.get_close_matches(unknown, known, 1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def _found(belongs: Any, value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, str):
        return SHOWN.repr(value) if choices(belongs) else f"the text {SHOWN.repr(value)}"
    if isinstance(value, datetime.date):
        return f"the date {value}"
    try:
        return SHOWN.repr(value)
    except ValueError:  # Python converts no more than 4,300 digits
        return "a whole number of thousands of digits"


def _hint(belongs: Any, value: Any) -> str:
    """What to write instead, where the value shows what was meant."""
    if isinstance(value, str):
        return _hint_for_text(belongs, value)

    if isinstance(value, float) and not math.isfinite(value):
        return "neither NaN nor infinity"
    if isinstance(value, int) and value > MANY:
        return f"no more than {MANY:,}"

    # YAML 1.1 reads an unquoted on, off, yes, no as true or false, and 16 as a number.
    meant = ("on" if value else "off") if isinstance(value, bool) else _found(belongs, value)
    if meant in choices(belongs):
        return f'put it in quotes: "{meant}"'
    if str in _members(belongs) and isinstance(value, int | float | datetime.date):
        return "put it in quotes"
    return ""


def _hint_for_text(belongs: Any, value: str) -> str:
    (bare, *_) = _members(belongs)
    if names := choices(belongs):
        near = difflib.get_close_matches(value, names, 1)
        return f"did you mean {near[0]}?" if near else ""
    if isinstance(bare, type) and issubclass(bare, Section):
        return "give sections in a file (--configfile my.yaml)"
    if bare is int and EXPONENT.fullmatch(value):
        return "write out all its digits"
    return "leave out the quotes" if bare in (int, float, bool) else ""


def allowed(belongs: Any, field: FieldInfo | None) -> str:
    """What a key may be: «a whole number at least 1 or null»."""
    if names := choices(belongs):
        return "one of " + ", ".join(names) + " or null" * _optional(belongs)
    if field is None or _members(belongs)[0] not in (int, float):
        return type_name(belongs)

    words = {"gt": "above", "ge": "at least", "le": "at most"}
    limits = " and ".join(f"{words[name]} {number}" for name, number in bounds(field))
    return f"{type_name(_members(belongs)[0])} {limits}".strip() + " or null" * _optional(belongs)


def bounds(field: FieldInfo) -> list[tuple[str, str]]:
    """The limits of a number, lower first, [("ge", "1"), ("le", "4,096")]; without `MANY`, which
    only a typing slip exceeds.
    """
    return [
        (name, f"{limit:,}" if isinstance(limit, int) else f"{limit:g}")
        for name in ("gt", "ge", "le")
        for rule in field.metadata
        if (limit := getattr(rule, name, None)) not in (None, MANY)
    ]


def choices(belongs: Any) -> list[str]:
    """The names that a `Literal` allows; empty for other types."""
    return [
        name
        for member in _members(belongs)
        if get_origin(member) is Literal
        for name in get_args(member)
    ]


def type_name(belongs: Any) -> str:
    """A type in the user's words."""
    if get_origin(belongs) is list:
        of = get_args(belongs)[0]
        if isinstance(of, type) and issubclass(of, Section):
            return "a list of sections"
        return "a list of texts" if of is str else "a list of numbers, texts, true, false or null"
    if get_origin(belongs) is dict:
        return f"`name: {type_name(get_args(belongs)[1])}` lines"
    if get_origin(belongs) in (Union, types.UnionType):
        names = [type_name(member) for member in _members(belongs)]
        return " or ".join(names + ["null"] * _optional(belongs))
    return TYPE_NAMES.get(belongs, "a section of `key: value` lines")


def _members(belongs: Any) -> list[Any]:
    """The types of a union but for None; of any other type, itself."""
    if get_origin(belongs) not in (Union, types.UnionType):
        return [belongs]
    return [member for member in get_args(belongs) if member is not type(None)]


def _optional(belongs: Any) -> bool:
    return type(None) in get_args(belongs)


def _join(path: str, name: Any) -> str:
    readable = isinstance(name, str) and name.isprintable() and len(name) <= MOST_SHOWN
    shown = str(name) if readable else SHOWN.repr(name)
    return f"{path}.{shown}" if path else shown
