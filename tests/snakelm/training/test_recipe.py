"""What TensorBoard calls runs: three that differ in one thing each have three names."""

from types import SimpleNamespace

from snakelm.config import Model, Train
from snakelm.training.metrics import FINETUNING, PRETRAINING
from snakelm.training.recipe import board_name


def named(names=PRETRAINING, lr=0.04, seed=1):
    recipe = SimpleNamespace(
        names=names,
        shape=Model(layers=8, width=256),
        training=Train(lr=lr, steps=1800),
        seed=seed,
        fingerprint="1f45437a172347aa",
    )
    return board_name(recipe)


def test_runs_are_told_apart_by_name():
    assert named() == "training-8x256-lr0.04-1800steps-seed1-1f4543"
    names = {named(), named(lr=0.01), named(seed=2), named(FINETUNING)}
    assert len(names) == 4
