"""The weights that training goes on from: a base's, with rows for tokens that it doesn't know.

A new token's rows, of the embedding and of the head, are the mean of the rows of the old tokens
that it merges (Gee et al. 2022, "Fast vocabulary transfer"; measured in docs/EXPERIMENTS.md): what
the model has learned of the pieces stands for the whole from the first step on. A token without
pieces, as `<|user|>`, gets the mean of all rows: then it is as likely as the average token and
takes nothing from the others (Hewitt 2021, "Initializing new word embeddings for pretrained
language models"). Old ids keep their rows to the bit. Rows beyond the tokenizer's last id, which
some models have for alignment, stand for nothing and are left out.
"""

import hashlib
from pathlib import Path
from typing import TypedDict

import torch

from ..config import Model
from ..config.base import pretraining_files
from ..errors import UserError
from ..model_folders import weight_files
from ..publishing import public_path
from ..tokenizer import Tokenizer
from ..tokenizer.of_base import check_extends, tokenizer_of_base
from ..user_paths import home
from ..workflow.manifest import content_hash
from .decoder import Decoder
from .file import load_model
from .huggingface import from_huggingface

__all__ = ["base_hashes", "base_record", "from_base", "pieces_of"]


class BaseFiles(TypedDict):
    """What a manifest says of a base."""

    name: str
    sha256: str  # of its weights; where they are in several files, over theirs
    files: dict[str, str]  # name → SHA-256


def base_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of each file that defines a base, by its name."""
    return {file.name: content_hash(file) for file in pretraining_files(path)}


def base_record(name: str) -> BaseFiles:
    """Of the base that train.base names."""
    path = home(name)
    files = base_hashes(path)
    weights = [files[file.name] for file in (weight_files(path) if path.is_dir() else [path])]
    several = hashlib.sha256(" ".join(weights).encode()).hexdigest()
    sha256 = weights[0] if len(weights) == 1 else several
    return {"name": public_path(name), "sha256": sha256, "files": files}


def from_base(path: Path, shape: Model, tokenizer: Tokenizer) -> Decoder:
    """The base as a model of ``shape`` and ``tokenizer``, in training mode; UserError where it is
    of another shape, or the tokenizer isn't its own or an extension of that.
    """
    base = tokenizer_of_base(path)
    check_extends(tokenizer, base, path)
    old = from_huggingface(path) if path.is_dir() else _of_a_run(path, base.tokenizer)
    if old.vocab_size < base.trained:
        raise UserError(
            f"{path}: {old.vocab_size:,} rows for {base.trained:,} tokens of its tokenizer; one of "
            "them is another model's"
        )
    if (found := old.shape.model_copy(update={"context": shape.context})) != shape:
        differ = [key for key, value in shape if getattr(found, key) != value]
        raise UserError(
            f"{path}: model.{differ[0]} is {getattr(found, differ[0])}, expected "
            f"{getattr(shape, differ[0])} by the configuration; leave the keys of model out"
        )

    model = Decoder(shape, tokenizer.vocab_size)
    weights = old.state_dict()
    tables = {"embedding", "head"} & weights.keys()
    pieces = pieces_of(tokenizer, base.trained)
    weights |= {name: _grown(weights[name], base.trained, pieces) for name in tables}
    model.load_state_dict(weights)
    return model.train()


def _of_a_run(path: Path, tokenizer: Tokenizer) -> Decoder:
    model, record = load_model(path)
    if record["tokenizer"]["sha256"] != tokenizer.sha256:
        raise UserError(
            f"{path}: trained with another tokenizer than the one in {path.parent / 'tokenizer'}; "
            "name the folder that it was exported to"
        )
    return model


def pieces_of(tokenizer: Tokenizer, known: int) -> list[list[int]]:
    """For each id from ``known`` on, the ids below it that it merges, in the order of the text;
    none for special tokens and unused ids.
    """
    pieces: list[list[int]] = []
    for pair in tokenizer.merges()[known:]:
        # A merge is of two lower ids, so those from `known` on are in the list already.
        parts = [[i] if i < known else pieces[i - known] for i in pair or ()]
        pieces.append([piece for part in parts for piece in part])
    return pieces


def _grown(table_VC: torch.Tensor, known: int, pieces: list[list[int]]) -> torch.Tensor:
    """The rows of the ``known`` ids, and one for each of ``pieces``."""
    kept_VC = table_VC[:known]
    average_C = kept_VC.mean(dim=0)
    new = [kept_VC[ids].mean(dim=0) if ids else average_C for ids in pieces]
    return torch.cat([kept_VC, torch.stack(new)]) if new else kept_VC
