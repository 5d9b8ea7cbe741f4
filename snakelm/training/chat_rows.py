"""The chat tokens of a base model, which it has never seen.

Their rows of the embedding are as good as any start, far from each other and of the right length;
the head's row for the end of an answer starts as that of the end of a text, which is what it means
(measured in docs/EXPERIMENTS.md). Tuning starts so, and so a base model is measured on answers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..model import Decoder
from ..tokenizer import Tokenizer
from ..tokenizer.special import END

__all__ = ["as_tuning_begins", "start_chat_rows"]


@torch.no_grad()
def start_chat_rows(model: Decoder, tokenizer: Tokenizer) -> None:
    """The head's row of `<|end|>` from that of `<|endoftext|>`: both end what is being said."""
    model.head_weight[tokenizer.special_tokens[END]] = model.head_weight[tokenizer.eot]


@contextmanager
def as_tuning_begins(model: Decoder, tokenizer: Tokenizer) -> Iterator[None]:
    """A base ``model`` as it is before tuning's first step; afterwards it is as it was."""
    end = tokenizer.special_tokens[END]
    before = model.head_weight[end].detach().clone()
    start_chat_rows(model, tokenizer)
    try:
        yield
    finally:
        with torch.no_grad():
            model.head_weight[end] = before
