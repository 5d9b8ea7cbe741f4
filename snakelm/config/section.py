"""What a section of the configuration is: a frozen pydantic model that converts nothing.

Strict, because a typing slip that trains for a day is expensive: the text "7" is not the number 7,
true is no number, 1.5 is no whole number, an unknown key is an error. The one exception is `1e-3`,
which YAML 1.1 reads as a text (it wants 1.0e-3) and which everyone means as a number.
"""

import copy
import functools
import re
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.fields import FieldInfo

__all__ = ["MANY", "Section", "UndeclaredKeyError", "is_cosmetic", "key", "section", "unit"]

T = TypeVar("T")
S = TypeVar("S", bound="Section")

MANY = 10**12  # upper bound of counts that have no other: a typing slip, not a plan, lies above it
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


class UndeclaredKeyError(AttributeError):
    """A step read a key of the configuration that it does not declare: a fault of ours, not the
    user's.
    """


class Section(BaseModel):
    """A part of the configuration; its keys are its fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,  # JSON has neither, and every manifest holds the configuration
        defer_build=True,  # a program that never checks a section doesn't pay for its validator
    )

    @model_validator(mode="before")
    @classmethod
    def _exponents_are_numbers(cls, values: Any) -> Any:
        """`1e-3` as 0.001, for the keys that take any number."""
        if not isinstance(values, dict):
            return values

        numbers = {
            name: float(values[name])
            for name in _float_keys(cls) & values.keys()
            if isinstance(values[name], str) and EXPONENT.fullmatch(values[name])
        }
        return {**values, **numbers} if numbers else values

    def decisive(self) -> frozenset[str]:
        """Cosmetic keys that aren't, because another key of the section makes them count."""
        return frozenset()

    if not TYPE_CHECKING:  # or every misspelt key would pass a type checker

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise UndeclaredKeyError(
                    f"{type(self).__name__}.{name} was read by a step that does not declare it; "
                    "add the key to `config` of its Step"
                )
            return super().__getattr__(name)


def key(
    default: T,
    reason: str,
    *,
    unit: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    cosmetic: bool = False,
) -> T:
    """A key of a section: its default, the reason for it in a line, its unit and its range.

    ``cosmetic`` keys change what is shown or kept, never the trained bytes: they are left out of
    fingerprints.
    """
    extra: dict[str, JsonValue] = {"unit": unit} if unit else {}
    extra |= {"cosmetic": True} if cosmetic else {}
    field = functools.partial(
        Field, description=reason, json_schema_extra=extra, ge=ge, gt=gt, le=le
    )
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default))
    return field(default)


def section(kind: type[S]) -> S:
    """A key that is a section. Left out, it is one of defaults: nothing in it is to be checked, so
    its validator, which takes longer to make than to run, needn't be made.
    """
    return Field(default_factory=kind.model_construct)


def unit(field: FieldInfo) -> str:
    """What the values of a key are counted in; empty when that needs no word."""
    return str(_extra(field).get("unit", ""))


def is_cosmetic(field: FieldInfo) -> bool:
    """Whether a key changes only what is shown or kept."""
    return bool(_extra(field).get("cosmetic", False))


def _extra(field: FieldInfo) -> dict[str, JsonValue]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


@functools.cache
def _float_keys(section: type[Section]) -> frozenset[str]:
    fields = section.model_fields.items()
    return frozenset(
        name for name, field in fields if float in (field.annotation, *get_args(field.annotation))
    )
