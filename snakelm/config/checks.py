"""Turns plain mappings into frozen dataclasses, strictly: the mechanism behind snakelm/config.py,
which holds the keys.

An unknown key, a wrong type or a value out of range is a UserError that names the key, what was
found and what is allowed. Nothing is converted: the text "7" is not the number 7, because a typing
slip that trains for a day is dear.
"""

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

from ..errors import UserError

__all__ = ["Key", "build", "key", "type_name"]


@dataclass(frozen=True)
class Key:
    """What a configuration key says of itself: the reason for it in a line, its unit, its range or
    its choices.

    ``cosmetic`` keys change what is shown or kept, never the trained bytes: they are left out of
    fingerprints.
    """

    reason: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple = ()
    cosmetic: bool = False


def key(default: Any, reason: str, **more: Any) -> Any:
    """A dataclass field with a default and its `Key`."""
    metadata = {"key": Key(reason, **more)}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    if is_dataclass(default) and isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def build(kind: type, values: Any, where: str = "") -> Any:
    """``values``, a mapping from YAML, as an instance of the dataclass ``kind``; ``where`` is the
    key's dotted path.
    """
    if not isinstance(values, Mapping):
        raise _wrong(where, values, "a section of `key: value` lines")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    for name in values:
        if name not in known:
            raise UserError(_unknown(where, name, list(known)))
    made = {}
    for name, f in known.items():
        if name in values:
            made[name] = _convert(hints[name], values[name], _join(where, name), f.metadata["key"])
        elif f.default is MISSING and f.default_factory is MISSING:
            raise UserError(f"{_join(where, name)}: missing; it is {f.metadata['key'].reason}")
    return kind(**made)


def _convert(hint: Any, value: Any, where: str, rule: Key) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where, rule)
    if is_dataclass(hint):
        return build(hint, value, where)
    if origin is list:
        if not isinstance(value, list | tuple):
            raise _wrong(where, value, f"a list of {type_name(arguments[0])}")
        return [_convert(arguments[0], item, f"{where}[{i}]", rule) for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            raise _wrong(where, value, type_name(hint))
        return {
            name: _convert(arguments[1], item, _join(where, name), rule)
            for name, item in value.items()
        }
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise _wrong(where, value, _allowed(hint, rule))
    _check_range(hint, value, where, rule)
    return value


def _convert_union(arguments: tuple, value: Any, where: str, rule: Key) -> Any:
    if value is None and type(None) in arguments:
        return None
    kinds = [a for a in arguments if a is not type(None)]
    for kind in kinds:
        if (typing.get_origin(kind) or kind) is type(value) or (
            kind is float and type(value) is int
        ):
            return _convert(kind, value, where, rule)
    raise _wrong(where, value, " or ".join(_allowed(kind, rule) for kind in kinds))


def _check_range(hint: Any, value: Any, where: str, rule: Key) -> None:
    outside = (
        (rule.choices and value not in rule.choices)
        or (rule.low is not None and not value >= rule.low)
        or (rule.high is not None and not value <= rule.high)
        or (rule.above is not None and not value > rule.above)
    )
    if outside:
        near = difflib.get_close_matches(str(value), [str(c) for c in rule.choices], 1)
        raise UserError(
            f"{where}: found {value!r}, allowed is {_allowed(hint, rule)}"
            + (f"; did you mean {near[0]}?" if near else "")
        )


def _allowed(hint: Any, rule: Key) -> str:
    if rule.choices:
        return "one of " + ", ".join(str(c) for c in rule.choices)
    bounds = [
        f"above {rule.above:g}" if rule.above is not None else "",
        f"at least {rule.low:g}" if rule.low is not None else "",
        f"at most {rule.high:g}" if rule.high is not None else "",
    ]
    bounds = " and ".join(b for b in bounds if b)
    return type_name(hint) + (f" {bounds}" if bounds else "")


def type_name(hint: Any) -> str:
    """A type in a person's words."""
    if typing.get_origin(hint) is list:
        return f"a list of {type_name(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is dict:
        return f"`name: {type_name(typing.get_args(hint)[1])}` lines"
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(
            "null" if a is type(None) else type_name(a) for a in typing.get_args(hint)
        )
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(hint, "a section")


def _wrong(where: str, value: Any, allowed: str) -> UserError:
    found = (
        "nothing (null)"
        if value is None
        else f"the text {value!r}"
        if isinstance(value, str)
        else repr(value)
    )
    hint = ""
    if isinstance(value, str) and "text" not in allowed and "one of" not in allowed:
        hint = "; leave out the quotes, write 1.0e-3 for 1e-3, and give sections in a file (--configfile my.yaml)"
    return UserError(f"{where or 'config'}: found {found}, allowed is {allowed}{hint}")


def _unknown(where: str, name: Any, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name), known, 1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"{_join(where, name)}: unknown key; {advice}"


def _join(where: str, name: Any) -> str:
    return f"{where}.{name}" if where else str(name)
