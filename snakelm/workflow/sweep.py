"""A sweep: trainings that share what is prepared and differ in keys that only training reads.

    sweep: {train.lr: [0.01, 0.03], seed: [1, 2, 3]}

Each combination of values is a point, a run in a folder of its own, named as Snakemake's Paramspace
names them: `results/sweep/train.lr~0.01/train.seed~1`. `seed` here means `train.seed`, for another
top-level seed would be another train.bin with other held-out text.

What can't be a sweep is found before any job: a key that doesn't exist, one that would prepare the
data anew, values of which two make the same training.
"""

import difflib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..config import Config, every_key, from_mapping
from ..errors import UserError
from .step import Step

__all__ = [
    "Point",
    "check_trained",
    "prepared_anew",
    "sweep_keys",
    "sweep_points",
    "value_text",
    "with_values",
]

FOLDER = "sweep"
TRAINING = "train_point"  # the step that trains a point
# Of the preparation, what pretraining doesn't read.
UNREAD = {"prepare_sft_data", "prepare_preferences"}
MEASURING = {"evaluate.clean_share"}  # of what pretraining reads, what changes no training
SHORT = {"seed": "train.seed"}
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")  # a text that may stand in a folder's name


@dataclass(frozen=True)
class Point:
    """One training of a study. ``name``: of its folder below ``study``, `sweep` or another;
    ``train_bin``: what it reads; paths from the results folder.
    """

    name: str
    values: Mapping[str, Any]
    config: Config
    study: str = FOLDER
    train_bin: str = "data/processed/train.bin"


def sweep_points(
    given: Mapping[str, Any], config: Config, steps: Mapping[str, Step]
) -> list[Point]:
    """Every point of ``config.sweep``, the last key's values changing fastest.

    ``given``: the user's keys, which ``config`` was made from. UserError for a key or a value that
    a sweep can't have.
    """
    if not config.sweep:
        return []

    keys = sweep_keys(config)
    for key, values in keys.items():
        _check_values(key, values)
        _check_effect(key, values, given, config, steps)
    return [
        Point(_name(values), values, with_values("sweep", given, values))
        for values in (
            dict(zip(keys, combined, strict=True)) for combined in itertools.product(*keys.values())
        )
    ]


def sweep_keys(config: Config) -> dict[str, list[Any]]:
    """The keys that vary, by their full names, and their values; UserError for unknown ones."""
    keys: dict[str, list[Any]] = {}
    for key, values in config.sweep.items():
        name = SHORT.get(key, key)
        _check_known(f"sweep.{key}", name)
        if name in keys:
            raise UserError(f"sweep.{key}: the same as {name}, which is there too; take one out")
        keys[name] = values
    return keys


def _check_known(where: str, key: str) -> None:
    known = every_key()
    if key not in known:
        close = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {close[0]}?" if close else "docs/TRAINING_CONFIG.md lists all"
        raise UserError(f"{where}: no such key; {hint}")


def check_trained(where: str, key: str, config: Config, steps: Mapping[str, Step]) -> None:
    """UserError, beginning with ``where``, unless pretraining reads ``key``."""
    _check_known(where, key)
    section, _, name = key.rpartition(".")
    read = steps[TRAINING].settings_of(config)
    if key != "preset" and name not in (read.get(section, {}) if section else read):
        raise UserError(
            f"{where}: changes nothing in a pretrained model; vary keys of model and train "
            "(docs/TRAINING_CONFIG.md), but for those that it marks *shown only*"
        )


def _check_values(key: str, values: list[Any]) -> None:
    if not values:
        raise UserError(f"sweep.{key}: no values; expected a list such as [1, 2, 3]")
    for value in values:
        if isinstance(value, str) and not WORD.fullmatch(value):
            raise UserError(
                f"sweep.{key}: found {value!r}, which can't stand in a folder's name; expected "
                "numbers, words, true, false or null"
            )


def _check_effect(
    key: str, values: list[Any], given: Mapping[str, Any], config: Config, steps: Mapping[str, Step]
) -> None:
    """UserError unless each value of ``key`` makes another training of the same data."""
    check_trained(f"sweep.{key}", key, config, steps)
    if key in MEASURING:
        raise UserError(
            f"sweep.{key}: decides which held-out documents are the measure, and runs that are "
            "measured by others can't be compared; set one value under evaluate"
        )
    seen: dict[str, Any] = {}
    for value in values:
        changed = with_values("sweep", given, {key: value})
        if prepared := sorted(prepared_anew(config, changed, steps)):
            raise UserError(
                f"sweep.{key}: {value_text(value)} changes what is prepared "
                f"({', '.join(prepared)}), and a sweep's runs share that; give each "
                "value a results folder of its own and draw them side by side with compare"
            )

        settings = repr(steps[TRAINING].settings_of(changed))
        if settings in seen:
            raise UserError(
                f"sweep.{key}: {value_text(seen[settings])} and {value_text(value)} make the same "
                "training; take one out"
            )
        seen[settings] = value


def prepared_anew(config: Config, changed: Config, steps: Mapping[str, Step]) -> Iterator[str]:
    """The steps of the preparation that would run again."""
    for name, step in steps.items():
        shared = step.stage == "preparation" and name not in UNREAD
        if shared and step.settings_of(config) != step.settings_of(changed):
            yield name


def with_values(where: str, given: Mapping[str, Any], values: Mapping[str, Any]) -> Config:
    """The user's keys with ``values`` over them, checked; UserError, beginning with ``where``, that
    names the value.
    """
    merged = dict(given)
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if section:
            merged[section] = {**(merged.get(section) or {}), name: value}
        else:
            merged[key] = value
    try:
        return from_mapping(merged)
    except UserError as error:
        at = ", ".join(f"{key}: {value_text(value)}" for key, value in values.items())
        raise UserError(f"{where}: with {at}: {error}") from None


def _name(values: Mapping[str, Any]) -> str:
    return "/".join(f"{key}~{value_text(value)}" for key, value in values.items())


def value_text(value: Any) -> str:
    """A value as YAML writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
