"""A trained model with the tokenizer it was trained with, or one line that says what doesn't
fit.
"""

from pathlib import Path
from typing import Any

import torch

from ..config import Train
from ..errors import UserError
from ..model import Decoder, load_model
from ..tokenizer import Tokenizer
from ..training.device import choose_place, choose_threads

__all__ = ["device_for", "open_model"]


def device_for(train: Train, most_threads: int | None, log) -> torch.device:
    """The device that train.device asks for, torch's threads set to those that are free, at most
    ``most_threads``.
    """
    place = choose_place(train, choose_threads(most_threads, None, 1, log.warn))
    log.say(f"on {place.device.type}, fp32, {place.threads} thread{'s' * (place.threads > 1)}")
    return place.device


def open_model(
    path: str | Path, tokenizer: Tokenizer, device: str | torch.device = "cpu"
) -> tuple[Decoder, dict[str, Any]]:
    """The model, in float32, and its record; UserError when it was trained with another
    tokenizer.
    """
    model, record = load_model(path, device)
    theirs = record["tokenizer"]
    if theirs["sha256"] != tokenizer.sha256:
        raise UserError(
            f"{path}: trained with tokenizer {theirs['sha256'][:12]}… of {theirs['vocab_size']:,} tokens, this one is "
            f"{tokenizer.sha256[:12]}… of {tokenizer.vocab_size:,}; name the tokenizer it was trained with, or train "
            "it again"
        )
    return model, record
