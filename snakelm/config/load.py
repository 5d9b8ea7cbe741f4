"""Reads the configuration: YAML files over one another, a preset below them, everything checked."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .checks import checked
from .messages import read_section
from .presets import PRESETS
from .schema import Config
from .view import public
from .yaml_files import read_yaml

__all__ = ["SETTINGS_MARK", "from_mapping", "load_config", "load_settings"]

SETTINGS_MARK = "# settings of"  # how the files begin that the workflow writes for its steps

LEVELS = 2  # of mappings: the sections, and the keys in them


def load_config(
    files: Iterable[str | Path] = (), overrides: Mapping[str, Any] | None = None
) -> Config:
    """Reads YAML files, later ones over earlier ones, then ``overrides``; checks every key."""
    merged: dict[str, Any] = {}
    for file in files:
        merged = _merge(merged, read_yaml(Path(file)))
    return from_mapping(_merge(merged, overrides or {}))


def load_settings(files: Iterable[str | Path]) -> Config:
    """What a step is given: the user's files as `load_config` reads them, or a settings file.

    A settings file holds the checked keys of one step and no others, so
    checks across sections (does the batch fit the context?) are not made again. Neither has the
    passwords and keys of addresses: what a step reads was fetched before.
    """
    paths = [Path(file) for file in files]
    if not paths or not _is_settings(paths[0]):
        return public(load_config(paths))

    merged: dict[str, Any] = {}
    for file in paths:
        merged = _merge(merged, read_yaml(file))
    return read_section(Config, merged)


def _is_settings(file: Path) -> bool:
    try:
        with open(file, "rb") as opened:
            return opened.read(len(SETTINGS_MARK)) == SETTINGS_MARK.encode()
    except OSError:
        return False  # read_yaml says what is wrong


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
