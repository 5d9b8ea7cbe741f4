"""Reads the configuration: YAML files over one another, a preset below them, everything checked."""

import gc
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError
from .base import based
from .checks import checked
from .dial import dialled
from .messages import read_section
from .planning import with_candidates
from .presets import PRESETS
from .schema import Config
from .unread import check_given
from .view import public
from .yaml_files import read_yaml

__all__ = [
    "NAMED_BY_CONTENT",
    "SETTINGS_MARK",
    "SHOWN_MARK",
    "content_digits",
    "from_mapping",
    "load_config",
    "load_settings",
]

SETTINGS_MARK = "# settings of"  # how the files begin that the workflow writes for its steps
SHOWN_MARK = "# shown by"  # … and those with the keys that change only what is shown
NAMED_BY_CONTENT = re.compile(r"(.+)-([0-9a-f]{12})\.yaml")
FOLDER = "config"  # where the workflow writes them

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
    passwords and keys of addresses: what a step reads was fetched before. UserError for one that
    was changed: half of a settings file would leave the defaults for the other half.
    """
    paths = [Path(file) for file in files]
    for place, path in enumerate(paths):
        _check_content(path, beside=place > 0)
    if not paths or not _is_settings(paths[0]):
        return public(load_config(paths))

    merged: dict[str, Any] = {}
    for file in paths:
        merged = _merge(merged, read_yaml(file))
    return read_section(Config, merged)


def content_digits(data: bytes) -> str:
    """The first 12 hex digits of the SHA-256: settings files have those of their content in their
    name, shown files in their first line those of the rest.
    """
    return hashlib.sha256(data).hexdigest()[:12]


def _check_content(file: Path, beside: bool) -> None:
    """UserError for a file of the workflow's that doesn't hold what was written; ``beside``: it
    comes after another.
    """
    try:
        data = file.read_bytes()
    except OSError:
        return  # read_yaml says what is wrong

    ours = file.parent.name == FOLDER
    named = NAMED_BY_CONTENT.fullmatch(file.name)
    if named and (ours or data.startswith(SETTINGS_MARK.encode())):
        said, found = named[2], content_digits(data)
    elif data.startswith(SHOWN_MARK.encode()) or (ours and beside and file.stem.endswith("-shown")):
        first, _, rest = data.partition(b"\n")
        said, found = first.decode(errors="replace")[-12:], content_digits(rest)
    else:
        return
    if said != found:
        raise UserError(
            f"{file}: changed since the workflow wrote it (SHA-256 {found}…, expected {said}…); "
            "delete it and run the same command again"
        )


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

    sized = dialled(values)
    preset = values.get("preset", "default")
    known = isinstance(preset, str) and preset in PRESETS
    merged = based(_merge(PRESETS[preset], sized), values) if known else sized
    with _uncollected():
        config = checked(read_section(Config, merged))
        check_given(values, config.tokenizer)
        return with_candidates(values, config)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection while the sections' classes are built: it finds nothing, and takes half
    the time of it.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


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
