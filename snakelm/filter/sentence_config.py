"""Whether a sentence model's config.json tells of the weights beside it, before transformers builds
what it tells of.

transformers allocates first and compares then, ten million rows of a vocabulary in two minutes; a
layer that has no weights starts at random, and one too many is left out, both without a word.
"""

import math
import re
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..json_files import read_json

__all__ = ["check_config"]

LAYERS = {"num_hidden_layers", "n_layers"}
SIZES = {"vocab_size", "hidden_size", "intermediate_size", "dim", "hidden_dim", "embedding_size"}
POSITIONS = "max_position_embeddings"
MOST_POSITIONS = 131_072
LAYER = re.compile(r"\blayers?\.(\d+)\.")


def check_config(folder: Path) -> None:
    """UserError unless each size in config.json is that of a weight in model.safetensors, and there
    are as many layers.
    """
    path = folder / "config.json"
    config = read_json(path, remedy="save the model again", what="a model's settings")
    heads = _sizes(folder / "model.safetensors")
    dimensions = {size for shape in heads.values() for size in shape}

    layers = {int(match[1]) for name in heads if (match := LAYER.search(name))}
    for key in LAYERS & config.keys() if layers else ():
        count = max(layers) + 1
        _check(path, key, config[key], config[key] == count, f"{count}, as the weights have")
    for key in SIZES & config.keys():
        _check(path, key, config[key], _is_in(dimensions, config[key]), "a size that a weight has")
    if POSITIONS in config:
        positions = config[POSITIONS]
        few = isinstance(positions, int) and 0 < positions <= MOST_POSITIONS
        _check(path, POSITIONS, positions, few, f"a number of at most {MOST_POSITIONS:,}")
    for key in sorted(key for key in config if key.endswith("_eps")):
        _check(path, key, config[key], _is_epsilon(config[key]), "a number above 0, at most 0.1")


def _check(path: Path, key: str, value: Any, sound: bool, expected: str) -> None:
    if not sound or isinstance(value, bool):
        raise UserError(
            f"{path}: {key}: found {value!r}, expected {expected}; save the model again"
        )


def _is_in(dimensions: set[int], value: Any) -> bool:
    return isinstance(value, int) and value in dimensions


def _is_epsilon(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 < value <= 0.1


def _sizes(path: Path) -> dict[str, tuple[int, ...]]:
    """The size of each weight, from the file's head."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            names = file.keys()
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a safetensors file ({error}); save the model again") from None
