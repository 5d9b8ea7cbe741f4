"""JSON that may be damaged: checked against a shape, or refused in one line.

Every JSON file and line that snakelm reads comes through here, its own files too: a disk, a copy or
an editor may have changed them. Whatever is wrong (missing, not UTF-8, nested without end, an
integer of a million digits, NaN, a list where a mapping belongs, a text where a number belongs) is
a `UserError` that names the file, what was found and what to do, never a traceback.
"""

import functools
import json
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_origin

from .errors import UserError

__all__ = ["JsonError", "parse_json", "read_json"]

T = TypeVar("T")

NAMES = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number", float: "a number"}


class JsonError(UserError):
    """Text that is no JSON, or not of the expected shape; the message says what was found."""


def read_json(path: str | Path, shape: type[T] = dict, *, remedy: str, what: str = "") -> T:
    """The JSON file ``path`` as ``shape``: dict, list, or a pydantic model, dataclass or TypedDict.

    ``remedy``: what a person is to do when it is missing or damaged. ``what``: what the file is, as
    in "tokenizer metadata"; said when it is something else.
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
        expected = f", expected {what}" if what else ""
        raise UserError(f"{path}: {error}{expected}; {remedy}") from None


def parse_json(text: str | bytes, shape: type[T] = dict) -> T:
    """``text`` as ``shape``; raises `JsonError` with what was found, for the caller to say
    where.
    """
    try:
        value = json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise JsonError("not UTF-8") from None
    except RecursionError:
        raise JsonError("not JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"not JSON: {error.msg} at line {error.lineno}") from None
    except ValueError as error:  # an integer of more digits than Python converts, or NaN
        raise JsonError(f"not JSON: {str(error).split(';')[0]}") from None
    return _shaped(value, shape)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _shaped(value: Any, shape: Any) -> Any:
    plain = get_origin(shape) or shape
    if shape is plain and plain in NAMES:
        if isinstance(value, plain) and not (isinstance(value, bool) and plain is not bool):
            return value
        raise JsonError(f"found {_name(value)} where {NAMES[plain]} belongs")

    from pydantic import ValidationError

    try:
        return _adapter(shape).validate_python(value)
    except (ValidationError, RecursionError) as error:
        raise JsonError(_first_fault(error)) from None


@functools.cache
def _adapter(shape: Any):
    from pydantic import TypeAdapter

    return TypeAdapter(shape)


def _first_fault(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    fault = error.errors(include_url=False, include_input=False)[0]  # type: ignore[attr-defined]
    where = ".".join(map(str, fault["loc"]))
    return f"{where}: {fault['msg'][:1].lower()}{fault['msg'][1:]}" if where else fault["msg"]


def _name(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return NAMES.get(type(value), type(value).__name__)
