"""What `train.base` settles: a run that goes on from a model has that model's shape, and its
tokenizer.

Keys of the user's own that contradict the base are errors; those of a preset, which fit a model of
its own, give way. Two may differ: a shorter model.context, and a larger tokenizer.vocab_size, which
is filled with merges learned on the run's text.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from ..json_files import read_json
from ..model_folders import TOKENIZER, model_files, weight_heads
from ..user_paths import home
from .checks import check_path
from .huggingface import read_config_json, shape_of
from .messages import read_section
from .training_sections import Model

__all__ = ["based", "pretraining_files", "tokenizer_file"]

MANIFEST = ".manifest.json"
OWN_TOKENIZER, META = "tokenizer", "meta.json"  # beside final_model.pt in its results folder
FROM_BASE = {"kind": "base", "file": None, "pattern": None}


class Base(NamedTuple):
    """A model to start from, by what lies beside its weights."""

    shape: Model
    vocab_size: int  # of its tokenizer


def based(merged: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The keys ``merged`` with those that train.base settles, where there is one.

    ``own``: the user's, without their preset's.
    """
    train = merged.get("train")
    name = train.get("base") if isinstance(train, Mapping) else None
    sections = (own.get(section, {}) for section in ("model", "tokenizer"))
    if not isinstance(name, str) or not all(isinstance(one, Mapping) for one in sections):
        return dict(merged)  # nothing to settle, or of a wrong type, which is said later

    check_path("train.base", name)
    _check_not_made_here(name, merged.get("results", "results"))
    base = _read(home(name))
    settled: dict[str, Any] = dict(merged)
    settled["model"] = _shape(name, base.shape, _section(own, "model"))
    settled["tokenizer"] = _tokenizer(name, base, _section(merged, "tokenizer"), own)
    settled["train"] = _start(name, dict(_section(merged, "train")), _section(own, "train"))
    return settled


def tokenizer_file(path: Path) -> Path:
    """The file that says what the tokenizer of a base is."""
    return path / TOKENIZER if path.is_dir() else path.parent / OWN_TOKENIZER / META


def pretraining_files(path: Path) -> list[Path]:
    """The files that define a model to go on from and its tokenizer, the weights first. Of a folder
    always the safetensors, whatever else is in it.
    """
    return model_files(path) if path.is_dir() else [path, tokenizer_file(path)]


def _check_not_made_here(name: str, results: object) -> None:
    """UserError for a base that the run itself would write."""
    own = os.path.realpath(os.path.expanduser(str(results)))
    if os.path.realpath(home(name)).startswith(own + os.sep):
        raise UserError(
            f"train.base: {name} is in this run's own results folder {results}, where it would be "
            "overwritten; give the run another one (results: more), or move the base"
        )


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = values.get(name)
    return section if isinstance(section, Mapping) else {}


def _read(path: Path) -> Base:
    """UserError for what is no model, or one that we can't go on from."""
    if path.is_dir():
        weight_heads(path)
        config = read_config_json(path)
        return Base(shape_of(path, config), _vocabulary(path))
    if not path.is_file():
        raise UserError(
            f"train.base: {path}: no such file or folder; name an exported folder, one that "
            "transformers saved, or a run's final_model.pt"
        )
    return _of_a_run(path)


def _of_a_run(path: Path) -> Base:
    """Of a model's file in a results folder, by its manifest and the tokenizer beside it."""
    remedy = "name the folder that it was exported to instead (results/models/final)"
    manifest = read_json(path.with_name(path.name + MANIFEST), remedy=remedy)
    config = manifest.get("config")
    shape = config.get("model") if isinstance(config, dict) else None
    if not isinstance(shape, dict):
        raise UserError(f"train.base: {path}: its manifest has no shape; {remedy}")

    meta = tokenizer_file(path)
    vocab_size = read_json(meta, remedy=remedy).get("vocab_size")
    if not isinstance(vocab_size, int):
        raise UserError(f"{meta}: no vocab_size in it; {remedy}")
    return Base(read_section(Model, shape, f"{path}: model"), vocab_size)


def _vocabulary(folder: Path) -> int:
    """One more than the largest id of a folder's tokenizer; UserError for one that isn't byte-level
    BPE, as far as a glance tells (preflight reads all of it).
    """
    path, remedy = folder / TOKENIZER, "expected the tokenizer.json of a byte-level BPE"
    record = read_json(path, remedy=f"{remedy}; put the model's own there")
    model = record.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if kind != "BPE" or "ByteLevel" not in str(record.get("pre_tokenizer")):
        steps = "without ByteLevel" if kind == "BPE" else "of another kind"
        raise UserError(f"train.base: {path}: a {kind!r} tokenizer {steps}; {remedy}")

    vocab = model.get("vocab") if isinstance(model, dict) else None
    ids = list(vocab.values()) if isinstance(vocab, dict) else []
    ids += [
        token.get("id") for token in record.get("added_tokens") or [] if isinstance(token, dict)
    ]
    if not ids or not all(isinstance(i, int) for i in ids):
        raise UserError(f"train.base: {path}: ids are missing or no whole numbers; {remedy}")
    return max(ids) + 1


def _shape(name: str, base: Model, own: Mapping[str, Any]) -> dict[str, Any]:
    """The base's shape, with a context of the user's if it is shorter."""
    wanted = read_section(Model, {**base.model_dump(), **own}, "model")
    for key, value in base.model_dump().items():
        given = getattr(wanted, key)
        if key == "context" and given > value:
            raise UserError(
                f"model.context: {given:,} is longer than the {value:,} positions of train.base "
                f"{name}; give at most as many, or leave it out"
            )
        if key != "context" and given != value:
            raise UserError(
                f"model.{key}: {given} contradicts train.base {name}, whose {key} is {value}; "
                "leave it out, for the shape comes from the base, or name another base"
            )
    return wanted.model_dump()


def _tokenizer(
    name: str, base: Base, merged: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The section of a tokenizer that is the base's, or the base's and more."""
    own = _section(given, "tokenizer")
    for key, allowed in FROM_BASE.items():
        if own.get(key, allowed) != allowed:
            raise UserError(
                f"tokenizer.{key}: {own[key]!r} contradicts train.base {name}, whose tokenizer the "
                "run takes; leave it out (a larger tokenizer.vocab_size adds tokens)"
            )

    size = own.get("vocab_size", base.vocab_size)
    if isinstance(size, int) and size < base.vocab_size:
        raise UserError(
            f"tokenizer.vocab_size: {size:,} is less than the {base.vocab_size:,} tokens of "
            f"train.base {name}, and a vocabulary can't shrink; leave it out, or give more to add "
            "tokens"
        )
    if size == base.vocab_size and "train_mb" in own:
        raise UserError(
            f"tokenizer.train_mb: found {own['train_mb']}, and the run takes the tokens of "
            f"train.base {name} and learns none; leave it out, or give more of them "
            f"(tokenizer.vocab_size above {base.vocab_size:,})"
        )
    kept = {key: value for key, value in merged.items() if key not in FROM_BASE}
    return {**kept, "kind": "base", "vocab_size": size}


def _start(name: str, merged: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a start from nothing has."""
    nothing = {"start": "auto", "bigram_steps": 0}
    for key, value in nothing.items():
        if own.get(key, value) != value:
            raise UserError(
                f"train.{key}: {own[key]!r} contradicts train.base {name}, whose weights the run "
                "starts from; leave it out"
            )
    return {**merged, **nothing}
