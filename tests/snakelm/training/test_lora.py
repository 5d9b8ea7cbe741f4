"""LoRA: nothing before the first step, only its factors learn, and folding is the adapter to the
last bit.
"""

import pytest
import torch

from snakelm.config import Model, Train
from snakelm.model import Decoder
from snakelm.training import lora
from snakelm.training.optimizer import Optimizer

TINY = Model(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=16)


@pytest.fixture
def x():
    return torch.randint(0, 31, (2, 16), generator=torch.Generator().manual_seed(1))


def make(rank=None):
    generator = torch.Generator().manual_seed(0)
    model = Decoder(TINY, 31).initialize(generator)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
    if rank:
        lora.adapt(model, rank, 16.0, generator)
    return model


def learn(model, x, steps=5):
    optimizer = Optimizer(model, Train(steps=steps, warmup=0, lr=0.01))
    losses = []
    for _ in range(steps):
        loss = model(x, None, x)
        loss.backward()
        losses.append(loss.item())
        optimizer.step(1.0, 0.9)
    return losses, optimizer


def test_the_first_step_starts_from_the_base_model(x):
    assert torch.equal(make(4)(x), make()(x))


def test_only_the_factors_learn(x):
    model, base = make(4), dict(make().named_parameters())
    losses, optimizer = learn(model, x)
    assert losses[-1] < losses[0]
    assert len(optimizer.parameters) == 2 * 7 * TINY.layers
    for name, p in model.named_parameters():
        if lora.is_factor(name):
            assert p.abs().max() > 0
        else:
            assert torch.equal(
                p, base[name.replace("parametrizations.", "").removesuffix(".original")]
            ), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_folding_is_the_adapter_to_the_last_bit(x, dtype):
    model = make(4)
    model.compute_dtype = dtype
    learn(model, x)
    with torch.no_grad():
        adapted = model(x)
        lora.fold(model)
        assert torch.equal(model(x), adapted)
    assert set(model.state_dict()) == set(make().state_dict())
    plain = Decoder(TINY, 31, dtype)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain(x), adapted)


def test_its_state_goes_on_alike(x):
    uninterrupted, stopped, resumed = make(3), make(3), make(3)
    learn(uninterrupted, x, 4)
    _, optimizer = learn(stopped, x, 2)
    resumed.load_state_dict(stopped.state_dict())
    second = Optimizer(resumed, Train(steps=4, warmup=0, lr=0.01))
    second.load_state_dict(optimizer.state_dict())
    for _ in range(2):
        resumed(x, None, x).backward()
        second.step(1.0, 0.9)
    for (name, p), q in zip(uninterrupted.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(p, q), name


def test_a_rank_above_a_matrix_s_own_is_its_own():
    shapes = {tuple(p.shape) for name, p in make(1000).named_parameters() if name.endswith(".a")}
    assert shapes == {(32, 32), (16, 32), (32, 48)}
