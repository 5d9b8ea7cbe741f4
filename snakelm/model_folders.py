"""Folders with a model, as export and transformers write them, as far as their files' heads tell:
weights in one safetensors file or in several with an index, config.json, tokenizer.json.

Read without torch, so that a folder that is none is refused before anything runs. A safetensors
file begins with the length of its head, uint64, and the head, JSON: name → dtype, shape and place
of each tensor. So a file that was cut off is known by its size. Pickles are never read: they may
run code.
"""

import os
from pathlib import Path
from typing import NamedTuple

from .errors import UserError
from .json_files import JsonError, parse_json, read_json

__all__ = [
    "CHAT_TOKENS_TRAINED",
    "SHAPE",
    "TOKENIZER",
    "WEIGHTS",
    "Head",
    "model_files",
    "weight_files",
    "weight_heads",
]

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHAPE, TOKENIZER = "config.json", "tokenizer.json"
CHAT_TOKENS_TRAINED = "chat_tokens_trained"  # our own key in an export's tokenizer_config.json
PICKLES = ("pytorch_model*.bin", "*.pth", "consolidated*.pt")
LONGEST_HEAD = 100_000_000  # bytes, as the safetensors library has it
REMEDY = "fetch or export the model again"


class Head(NamedTuple):
    """What a file says of a tensor in it."""

    dtype: str
    size: tuple[int, ...]


def model_files(folder: Path) -> list[Path]:
    """The files that define the model of a folder, its weights first; UserError where there are no
    weights that can be taken.
    """
    index = folder / INDEX
    weights = weight_files(folder)
    sharded = [index] if index.is_file() and not (folder / WEIGHTS).is_file() else []
    return [*sharded, *weights, folder / SHAPE, folder / TOKENIZER]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, in the order of their names."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return _sharded(folder)

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder, seen from {os.getcwd()}; name a model's folder")
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise UserError(
            f"{folder}: its weights are in {pickles[0]}, a pickle, which may run code and is never "
            f"read; expected {WEIGHTS}: fetch the model in that form, or let transformers write it "
            "(model.save_pretrained(folder))"
        )
    raise UserError(
        f"{folder}: neither {WEIGHTS} nor {INDEX} in it; name an exported folder, or one that "
        "transformers saved"
    )


def _sharded(folder: Path) -> list[Path]:
    """The files that an index names."""
    index = read_json(folder / INDEX, remedy=REMEDY).get("weight_map")
    names = set(index.values()) if isinstance(index, dict) else set()
    if not names or not all(isinstance(n, str) and n.endswith(".safetensors") for n in names):
        raise UserError(f"{folder / INDEX}: no weight_map of safetensors files; {REMEDY}")

    foreign = [name for name in sorted(names) if Path(name).name != name]
    if foreign:
        raise UserError(f"{folder / INDEX}: names {foreign[0]!r}, no file of its folder; {REMEDY}")
    missing = [name for name in sorted(names) if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder / missing[0]}: missing, with {len(missing)} of {len(names)} files that "
            f"{INDEX} names; {REMEDY}"
        )
    return [folder / name for name in sorted(names)]


def weight_heads(folder: Path) -> dict[str, Head]:
    """Name → dtype and size of each weight of a folder; UserError for a file that is cut off or
    damaged, or where two files hold the same name.
    """
    heads: dict[str, Head] = {}
    for file in weight_files(folder):
        for name, head in _heads(file).items():
            if name in heads:
                raise UserError(f"{file}: {name} is in another file of the folder, too; {REMEDY}")
            heads[name] = head
    return heads


def _heads(file: Path) -> dict[str, Head]:
    """The tensors of one file."""
    try:
        with open(file, "rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            text = opened.read(length) if length <= LONGEST_HEAD else b""
            size = os.fstat(opened.fileno()).st_size
    except OSError as error:
        raise UserError(f"{file}: can't be read ({error.strerror}); {REMEDY}") from None
    if len(text) != length or not text:
        raise UserError(f"{file}: can't be read (no safetensors file, or cut off); {REMEDY}")

    try:
        entries = parse_json(text)
    except JsonError as error:
        raise UserError(f"{file}: can't be read ({error}); {REMEDY}") from None
    entries.pop("__metadata__", None)
    heads, end = {}, 8 + length
    for name, entry in entries.items():
        heads[name], last = _head(file, name, entry)
        end = max(end, 8 + length + last)

    if size != end:
        raise UserError(
            f"{file}: can't be read ({size:,} bytes, its head says {end:,}: cut off or damaged); "
            f"{REMEDY}"
        )
    return heads


def _head(file: Path, name: str, entry: object) -> tuple[Head, int]:
    """A tensor, and where its data ends, in bytes behind the head."""
    match entry:
        case {"dtype": str(dtype), "shape": list(size), "data_offsets": [int(), int(last)]} if all(
            isinstance(n, int) and n >= 0 for n in size
        ):
            return Head(dtype, tuple(size)), last
    raise UserError(f"{file}: can't be read ({name!r} is no tensor in its head); {REMEDY}")
