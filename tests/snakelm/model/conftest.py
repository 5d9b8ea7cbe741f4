"""Shapes of every kind that the configuration takes."""

import random

import pytest
import torch

from snakelm.config import Model, from_mapping
from snakelm.errors import UserError
from snakelm.model import Decoder

CHOICES = {
    "layers": [1, 2, 3],
    "width": [8, 9, 10, 12, 13, 24, 37, 48, 64],
    "heads": [1, 2, 3, 4, 5, 6, 8, 12],
    "kv_heads": [1, 2, 3, 4, 5, 6, 8, 12],
    "head_dim": [2, 4, 6, 7, 10, 14, 16, 20, 34, 64, 96],
    "hidden": [8, 9, 17, 33, 80],
    "context": [8, 9, 11, 32],
    "rope_base": [1.0001, 1.5, 10.0, 5000.0, 1e6, 1e10, 1e30, 1e300],
    "tie_embeddings": [False, True],
    "qk_norm": [False, True],
    "embedding_norm": [False, True],
    "norm_eps": [1e-300, 1e-12, 1e-6, 1e-5, 0.1],
}
VOCABULARIES = [1, 2, 3, 77, 257, 1000]


@pytest.fixture
def drawn_shapes():
    """`drawn_shapes(seed, count)`: so many shapes drawn at random that the configuration takes,
    with the vocabulary's size, and how many it refused until then.
    """

    def draw(seed, count):
        chance = random.Random(seed)
        taken: list[tuple[Model, int]] = []
        refused = 0
        while len(taken) < count:
            values = {name: chance.choice(some) for name, some in CHOICES.items()}
            train = {"batch_tokens": values["context"]}
            try:
                shape = from_mapping({"model": values, "train": train}).model
            except UserError:
                refused += 1
            else:
                taken.append((shape, chance.choice(VOCABULARIES)))
        return taken, refused

    return draw


@pytest.fixture
def talkative():
    """`talkative(shape, vocab_size)`: a model that says something: gains away from 1, residual
    outputs away from 0, as training leaves them.
    """

    def make(shape, vocab_size):
        generator = torch.Generator().manual_seed(3)
        model = Decoder(shape, vocab_size).initialize(generator).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.1 * torch.randn(weight.shape, generator=generator)
        return model

    return make
