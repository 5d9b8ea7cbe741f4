"""Before anything is allocated: does it fit together, and how long will it take, in one line."""

from dataclasses import dataclass

import torch

from pytorch_ext import attention

from ..config import Model
from ..data.bins import TokenBin
from ..errors import UserError
from ..files import human_bytes
from ..model import ModelSize, model_size
from .device import Place

__all__ = ["Plan", "check_attention", "check_sizes", "make_plan"]

# Share of the measured product rate that a whole step reaches (docs/EXPERIMENTS.md); for the
# estimate only.
USUAL_SHARE = {"cpu": 0.45, "cuda": 0.35, "mps": 0.2}


@dataclass(frozen=True)
class Plan:
    """What a run will take."""

    counts: ModelSize
    tokens: int
    epochs: float
    flops: float
    memory: float
    seconds: float

    def words(self) -> str:
        """The line a person sees."""
        c = self.counts
        return (
            f"PREFLIGHT {_short(c.total)} parameters ({_short(c.matrices)} in matrices, {_short(c.embedding)} embedding"
            f"{f', {_short(c.head)} head' if c.head else ', tied'}) · {_short(self.tokens)} tokens "
            f"({self.epochs:.2f} epochs) · {self.flops:.1e} FLOP · memory about {human_bytes(self.memory)} · "
            f"about {_time(self.seconds)} (an estimate)"
        )


def make_plan(
    model: Model,
    vocab_size: int,
    tokens: int,
    epochs: float,
    rows: int,
    place: Place,
    peak: float,
    world: int,
) -> Plan:
    """The plan of a run over ``tokens`` tokens that takes ``rows`` rows of the context in one
    forward pass.
    """
    c = model_size(model, vocab_size)
    flops = tokens * c.flops_per_token
    rate = peak * USUAL_SHARE[place.device.type] * world
    return Plan(c, tokens, epochs, flops, _memory(model, rows, c, place), flops / rate)


def check_sizes(
    train: TokenBin, vocab_size: int, batch_tokens: int, context: int, world: int
) -> None:
    """UserError for a tokenizer or a batch that the token file, the context or the processes don't
    go with.
    """
    if train.meta.vocab_size != vocab_size:
        raise UserError(
            f"{train.path}: made for {train.meta.vocab_size} tokens, the tokenizer has {vocab_size}; "
            "run prepare_data again"
        )
    if batch_tokens % (context * world):
        raise UserError(
            f"train.batch_tokens: {batch_tokens} is no multiple of model.context {context} × "
            f"{world} processes; make it one"
        )


def check_attention(place: Place, backend: str | None) -> None:
    """Runs attention once on the place; UserError when train.attention asks for what is missing
    there.
    """
    q_BTHD = torch.zeros(1, 8, 1, 32, dtype=place.dtype, device=place.device)
    try:
        attention(q_BTHD, q_BTHD, q_BTHD, backend=backend)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"train.attention: {error}") from None


def _memory(model: Model, rows: int, c: ModelSize, place: Place) -> float:
    """Bytes of weights, gradients, optimizer state and what a micro-batch leaves for its backward
    pass.
    """
    width = 2 if place.dtype == torch.bfloat16 else 4
    states = 4 * (3 * c.matrices + 4 * (c.total - c.matrices)) + width * c.total
    inner = model.heads * model.head_dim + 2 * model.kv_heads * model.head_dim
    layer = (
        12 * model.width + 6 * inner + 8 * model.hidden
    )  # tensors kept a token, in values (eager)
    return states + rows * model.context * model.layers * layer * width + (64 << 20)


def _short(n: float) -> str:
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= limit:
            return f"{n / limit:.1f}{unit}"
    return f"{n:.0f}"


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{minutes} min"
        if minutes < 90
        else f"{seconds / 3600:.1f} h"
    )
