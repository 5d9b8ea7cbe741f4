"""Reads the configuration: YAML files over one another, a preset below them, everything checked."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .checks import checked
from .messages import read_section
from .presets import PRESETS
from .schema import Config
from .yaml_files import read_yaml

__all__ = ["from_mapping", "load_config"]

LEVELS = 2  # of mappings: the sections, and the keys in them


def load_config(
    files: Iterable[str | Path] = (), overrides: Mapping[str, Any] | None = None
) -> Config:
    """Reads YAML files, later ones over earlier ones, then ``overrides``; checks every key."""
    merged: dict[str, Any] = {}
    for file in files:
        merged = _merge(merged, read_yaml(Path(file)))
    return from_mapping(_merge(merged, overrides or {}))


def from_mapping(values: Mapping[str, Any]) -> Config:
    """The config that a plain mapping of the user's keys stands for; raises UserError naming the
    key that is wrong.
    """
    if not isinstance(values, Mapping):
        return read_section(Config, values)  # raises: no mapping is no config

    preset = values.get("preset", "default")
    known = isinstance(preset, str) and preset in PRESETS
    return checked(read_section(Config, _merge(PRESETS[preset], values) if known else values))


def _merge(
    below: Mapping[str, Any], above: Mapping[str, Any], levels: int = LEVELS
) -> dict[str, Any]:
    """``above`` over ``below``, section by section; lists are replaced, not merged."""
    merged = dict(below)
    for name, value in above.items():
        lower = merged.get(name)
        if levels > 1 and isinstance(value, Mapping) and isinstance(lower, Mapping):
            merged[name] = _merge(lower, value, levels - 1)
        else:
            merged[name] = value
    return merged
