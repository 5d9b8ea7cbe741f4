"""What a model makes of text that its training has read, against which held-out text tells what is
learned by heart.

Which documents those are follows from the manifest: batches are a function of file, seed and step.
So the model, its manifest and train.bin must belong together, and are compared.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.bins import open_bin
from ..errors import UserError
from ..model import Decoder
from ..tokenizer import Tokenizer
from ..training.batches import Batches
from ..training.validation import document_losses
from ..workflow.manifest import content_hash, read_manifest
from .intervals import rate

__all__ = ["how_it_was_trained", "reading"]


def how_it_was_trained(
    model_file: Path, record: Mapping[str, Any], train_bin: Path
) -> tuple[dict[str, Any], int]:
    """The `train` section and the seed of a pretrained model; UserError when its manifest is of
    another one.
    """
    made = read_manifest(model_file)
    try:
        train, seed = made["config"]["train"], made["seed"]
        train["batch_tokens"], train["warmup"]
        theirs = made.get("result", {}).get("fingerprint", record["fingerprint"])
        read = [
            one["sha256"]
            for one in made.get("inputs", [])
            if Path(one["path"]).name == train_bin.name
        ]
    except (KeyError, TypeError):
        raise UserError(
            f"{model_file}: its manifest doesn't say how it was trained; train it again"
        ) from None
    if theirs != record["fingerprint"]:
        raise UserError(
            f"{model_file}: of run {record['fingerprint']}, its manifest of run {theirs}; one of the two was put there "
            "from elsewhere: train it again, or bring both"
        )
    if read and content_hash(train_bin) not in read:
        raise UserError(
            f"{model_file}: trained on another {train_bin.name} than this one ({train_bin}); bring the one it was "
            "trained on, or train it again"
        )
    return train, seed


def reading(
    model: Decoder,
    step: int,
    batch_tokens: int,
    seed: int,
    train_bin: Path,
    tokenizer: Tokenizer,
    most: int,
) -> dict[str, Any]:
    """Bits per byte of documents that training has read to their end, at even distances, of about
    ``most`` tokens.
    """
    train = open_bin(train_bin, tokenizer.sha256, verify=False)
    batches = Batches(train, model.shape.context, batch_tokens, seed)
    seen = batches.seen(step)
    told = {"epochs": batches.epoch(step), "read": int(seen.size), "of": int(train.meta.documents)}
    if not seen.size:
        return {**told, "documents": 0, "bpb": None}
    tokens = np.diff(train.document_offsets)[seen].sum()
    count = max(1, int(min(seen.size, seen.size * most / tokens)))
    chosen = seen[np.unique(np.linspace(0, seen.size - 1, count).astype(np.int64))]
    nll = document_losses(model, train, chosen)
    sizes = np.array([int(tokenizer.token_lengths[train.document(i)[1:]].sum()) for i in chosen])
    found = rate(nll, sizes, seed, 1 / np.log(2))
    return {**told, "documents": int(chosen.size), "bpb": found and found.as_dict()}
