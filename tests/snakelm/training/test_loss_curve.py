"""A small model learns as its specification does: thirty steps in bfloat16 by the operators of
training, its working copies and products, and by plain torch.
"""

from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F

from pytorch_ext import dispatch
from snakelm.config import Model, load_config
from snakelm.model import Decoder, decoder
from snakelm.training.batches import Rows
from snakelm.training.distributed import World
from snakelm.training.optimizer import Optimizer
from snakelm.training.step import training_step

STEPS, ROWS, LENGTH, VOCAB = 30, 8, 32, 96
SHAPE = Model(layers=2, width=64, heads=2, kv_heads=1, head_dim=32, hidden=96, context=LENGTH)


def rows_of(step: int) -> Rows:
    """Tokens that count upwards in steps of one to three, in documents of some eleven tokens."""
    generator = np.random.default_rng(step)
    stream = generator.integers(1, 4, (ROWS, LENGTH + 1)).cumsum(axis=1) % VOCAB
    begins = generator.random((ROWS, LENGTH)) < 1 / 11
    start = np.maximum.accumulate(np.where(begins, np.arange(LENGTH), 0), axis=1)
    return Rows(stream[:, :-1].copy(), stream[:, 1:].copy(), start.astype(np.int32))


def losses() -> list[float]:
    """Nats a token, of one run in two micro-batches a step."""
    update = {"batch_tokens": ROWS * LENGTH, "micro_batch": ROWS // 2, "steps": STEPS, "warmup": 3}
    train = load_config([]).train.model_copy(update=update)
    model = Decoder(SHAPE, VOCAB, torch.bfloat16).initialize(torch.Generator().manual_seed(1))
    optimizer = Optimizer(model, train)
    return [
        training_step(
            step, model, optimizer, rows_of(step), ROWS * LENGTH, train, World(), lambda: False
        ).loss
        for step in range(STEPS)
    ]


def plain_products(x: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(F.linear(x, weight.to(x.dtype)) for weight in weights)


def test_the_loss_curve_is_the_references():
    ours = losses()
    reference_alone = (dispatch.Backend("reference", default_on=(dispatch.ANY,)),)
    references = dict.fromkeys(dispatch.TABLE, reference_alone)
    with (
        mock.patch.dict(dispatch.TABLE, references),
        mock.patch.object(decoder, "products", plain_products),
        mock.patch.object(decoder, "product", lambda x, weight: plain_products(x, weight)[0]),
        mock.patch.object(decoder, "working_copy", lambda weight, dtype: weight.to(dtype)),
    ):
        reference = losses()

    assert ours[-1] < 0.75 * ours[0], "it learns"
    worst = max(abs(a / b - 1) for a, b in zip(ours, reference, strict=True))
    assert worst < 0.01, f"{ours} against {reference}"
