"""The weights that a run without a base starts from, by `train.start`."""

import torch

from ..config import Model, Train
from ..data.bins import TokenBin
from ..errors import UserError
from ..model import Decoder
from . import bigram_init, induction_init
from .bigram_refinement import refine_bigrams

__all__ = ["set_initial_weights"]


def set_initial_weights(
    model: Decoder,
    training: Train,
    tokens: TokenBin,
    generator: torch.Generator,
    dtype: torch.dtype,
) -> bool:
    """Fills all weights from ``generator`` and from the counts of the training text. ``dtype``: of
    a refinement's products. Whether the run starts from bigrams.

    UserError for a start that the model's shape doesn't allow.
    """
    model.initialize(generator)
    counted, copying = _chosen_start(training, model.shape)
    if not counted:
        return False

    room = induction_init.room_of(model.shape) if copying else 0
    frequency_V = bigram_init.start_as_bigrams(model, tokens, generator, room)
    if training.bigram_steps:
        refine_bigrams(model, tokens, training.bigram_steps, dtype)
    if copying:
        induction_init.start_with_induction_heads(model, frequency_V, generator)
    return True


def _chosen_start(training: Train, shape: Model) -> tuple[bool, bool]:
    """Whether the model starts from bigrams, and whether it starts with induction heads."""
    start = training.start
    counted = start != "random" and bigram_init.applies(shape)
    copying = counted and start != "bigrams" and induction_init.applies(shape)
    if start in ("bigrams", "induction") and not counted:
        raise UserError(
            f"train.start: {start} needs an untied head, embedding_norm and a width of 32 or more; "
            "set auto"
        )
    if start == "induction" and not copying:
        raise UserError(
            "train.start: induction needs two layers or more, two key heads or more, qk_norm, "
            "head_dim of 32 or more and a width of twice as much; set auto"
        )
    return counted, copying
