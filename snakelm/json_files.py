"""JSON that may be damaged: checked against a shape, or refused in one line.

Every JSON file and line that snakelm reads comes through here, its own files included: a disk, a
copy or an editor may have changed them. Whatever is wrong (missing, not UTF-8, nested too deeply,
an integer of a million digits, NaN, a key that is written twice, a list where an object belongs, a
string where a number belongs) is a `UserError` that names the file, the fault and the remedy, never
a traceback.

A shape is `dict`, `list`, or a dataclass, TypedDict or pydantic model, which pydantic checks
strictly: `"5"` and `true` are no integers.
"""

import functools
import json
import reprlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from .errors import UserError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

__all__ = ["Fault", "JsonError", "parse_json", "read_json"]

T = TypeVar("T")
Fault = Literal["not UTF-8", "not JSON", "a key twice", "another shape"]

NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    float: "a number",
}


class JsonError(UserError):
    """Text that is not JSON, or not of the expected shape; the message says what was found.

    ``fault``: the kind of damage, for callers that count it. ``column``: where in its line JSON
    ends, from 1; 0 when that isn't known.
    """

    def __init__(self, message: str, fault: Fault, column: int = 0) -> None:
        super().__init__(message)
        self.fault, self.column = fault, column


@overload
def read_json(path: str | Path, *, remedy: str, what: str = "") -> dict[str, Any]: ...


@overload
def read_json(path: str | Path, shape: type[T], *, remedy: str, what: str = "") -> T: ...


def read_json(path: str | Path, shape: Any = dict, *, remedy: str, what: str = "") -> Any:
    """The JSON file ``path`` as ``shape``.

    ``remedy``: what the user should do when it is missing or damaged. ``what``: what the file
    should be, as in "tokenizer metadata"; mentioned when it is something else.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {remedy}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None

    try:
        return parse_json(data, shape)
    except JsonError as error:
        expected = f" (expected {what})" if what else ""
        raise UserError(f"{path}: {error}{expected}; {remedy}") from None


@overload
def parse_json(text: str | bytes, *, allow_nan: bool = False) -> dict[str, Any]: ...


@overload
def parse_json(text: str | bytes, shape: type[T], *, allow_nan: bool = False) -> T: ...


def parse_json(text: str | bytes, shape: Any = dict, *, allow_nan: bool = False) -> Any:
    """``text`` as ``shape``; raises `JsonError` with the fault, to which the caller adds the place.

    ``allow_nan``: accept NaN and Infinity, which are not JSON but stand in many data sets, because
    Python's json and pandas write them.
    """
    decoder = _LENIENT if allow_nan else _STRICT
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        value = decoder.decode(text)
    except UnicodeDecodeError:
        raise JsonError("not UTF-8", "not UTF-8") from None
    except RecursionError:
        raise JsonError("not JSON: nested too deeply", "not JSON") from None
    except JsonError:
        raise
    except json.JSONDecodeError as error:
        raise JsonError(
            f"not JSON: {error.msg} at line {error.lineno}", "not JSON", error.colno
        ) from None
    except ValueError as error:  # an integer of more digits than Python converts, or NaN
        raise JsonError(f"not JSON: {str(error).split(';')[0]}", "not JSON") from None

    return _checked(value, text, shape)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; Python's json would keep the last of the values of one key, silently."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found

    counts = Counter(name for name, _ in pairs)
    twice = counts.most_common(1)[0][0]
    raise JsonError(f"key {reprlib.repr(twice)} is written twice; keep one", "a key twice")


# Made once: json.loads with an option builds a decoder for each call, and JSONL has millions.
_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates)
_LENIENT = json.JSONDecoder(object_pairs_hook=_without_duplicates)


def _checked(value: Any, text: str, shape: Any) -> Any:
    if shape in NAMES:
        if isinstance(value, shape) and not isinstance(value, bool):  # a bool is an int
            return value
        raise JsonError(f"found {_name(value)}, expected {NAMES[shape]}", "another shape")

    from pydantic import ValidationError

    # Strict from the text, not from the values: only there does strict mode take an object for a
    # dataclass and a list for a tuple.
    try:
        return _adapter(shape).validate_json(text, strict=True)
    except ValidationError as error:
        raise JsonError(_first_fault(error), "another shape") from None


@functools.cache
def _adapter(shape: Any) -> "TypeAdapter":
    from pydantic import TypeAdapter

    return TypeAdapter(shape)


def _first_fault(error: "ValidationError") -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, fault["loc"]))
    return f"{where}: {fault['msg'][:1].lower()}{fault['msg'][1:]}" if where else fault["msg"]


def _name(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return NAMES.get(type(value), type(value).__name__)
