"""Muon's orthogonalisation, its batches of one shape, the schedule."""

import copy
import subprocess
import sys

import pytest
import torch

from pytorch_ext import orthogonalize
from snakelm.config import Model, Train
from snakelm.model import Decoder
from snakelm.training.optimizer import Muon, Optimizer, highest_factor, lr_factor, momentum

TINY = Model(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=16)


@pytest.mark.parametrize("shape", [(64, 64), (32, 96), (96, 32)], ids=["square", "wide", "tall"])
def test_update_is_nearly_orthogonal(shape):
    u, _, vh = torch.linalg.svd(
        torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)), full_matrices=False
    )
    g = u @ torch.linspace(1.0, 0.05, min(shape)).diag() @ vh
    values = torch.linalg.svdvals(orthogonalize(g).float())
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_update_keeps_the_singular_vectors():
    g = torch.randn(1, 48, 48, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(g[0])
    turned = u.T @ orthogonalize(g)[0].float() @ vh.T  # diagonal, if the vectors are kept
    off = turned - turned.diag().diag()
    assert off.abs().max() < 0.1


def test_zero_gradient_is_no_update():
    assert torch.equal(orthogonalize(torch.zeros(2, 8, 8)).float(), torch.zeros(2, 8, 8))


def test_a_batch_is_updated_like_single_matrices():
    start = [torch.randn(16, 24, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    together, alone = [[torch.nn.Parameter(w.clone()) for w in start] for _ in range(2)]
    optimizers = [Muon(together)], [Muon([p]) for p in alone]
    for step in range(3):
        for i, (a, b) in enumerate(zip(together, alone, strict=True)):
            a.grad = torch.randn(16, 24, generator=torch.Generator().manual_seed(10 * step + i))
            b.grad = a.grad.clone()
        for muon in (*optimizers[0], *optimizers[1]):
            muon.step(0.1, 0.9, 0.01)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(
            a, b, atol=5e-3, rtol=0
        )  # bfloat16 products, summed in another order


def test_state_round_trip_goes_on_alike():
    train = Train(steps=10, warmup=2)
    a, b = (Decoder(TINY, 31).initialize(torch.Generator().manual_seed(0)) for _ in range(2))
    first, second = Optimizer(a, train), Optimizer(b, train)
    x = torch.arange(32).view(2, 16) % 31
    for step in range(4):
        a(x, None, x).backward()
        first.step(lr_factor(step, train), momentum(step, train))
        if step == 1:
            b.load_state_dict(a.state_dict())
            second.load_state_dict(copy.deepcopy(first.state_dict()))
        if step >= 2:
            b(x, None, x).backward()
            second.step(lr_factor(step, train), momentum(step, train))
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q), name


def test_every_parameter_is_in_one_optimizer():
    model = Decoder(TINY, 31)
    optimizer = Optimizer(model, Train())
    assert {id(p) for p in optimizer.parameters} == {id(p) for p in model.parameters()}
    assert len(optimizer.parameters) == len(list(model.parameters()))


def test_learns_a_sequence_by_heart():
    train = Train(steps=40, warmup=5, embedding_lr=0.4, head_lr=0.01)  # rates for a random start
    model = Decoder(TINY, 31).initialize(torch.Generator().manual_seed(0))
    optimizer = Optimizer(model, train)
    x = torch.randint(0, 31, (2, 17), generator=torch.Generator().manual_seed(1))
    losses = []
    for step in range(train.steps):
        loss = model(x[:, :-1], None, x[:, 1:].contiguous()) / 32
        loss.backward()
        losses.append(loss.item())
        optimizer.step(lr_factor(step, train), momentum(step, train))
    assert losses[0] > 3.3
    assert losses[-1] < 0.1


def test_schedule_warms_up_stays_and_falls_to_nearly_zero():
    train = Train(steps=100, warmup=10, decay=0.5)
    factors = [lr_factor(step, train) for step in range(100)]
    assert factors[0] == 0.1
    assert factors[9:51] == [1.0] * 42
    assert factors[75] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.02)
    assert min(factors) > 0


@pytest.mark.parametrize(("warmup", "decay"), [(0, 0.0), (0, 1.0), (50, 1.0)])
def test_schedule_at_its_edges(warmup, decay):
    train = Train(steps=20, warmup=warmup, decay=decay)
    assert all(0 < lr_factor(step, train) <= 1 for step in range(20))


@pytest.mark.parametrize(
    ("steps", "warmup", "decay"), [(1800, 20, 0.6), (15, 20, 0.6), (40, 20, 0.6), (60, 0, 1.0)]
)
def test_the_highest_rate_of_a_run_is_known_beforehand(steps, warmup, decay):
    train = Train(steps=steps, warmup=warmup, decay=decay)
    assert highest_factor(train) == max(lr_factor(step, train) for step in range(steps))


def test_momentum_warms_up():
    assert [momentum(s, Train(momentum=0.95)) for s in (0, 300, 900)] == [
        0.85,
        pytest.approx(0.95),
        pytest.approx(0.95),
    ]
    assert momentum(0, Train(momentum=0.5)) == 0.5


def test_making_an_optimizer_does_not_import_torchs_compiler():
    code = (
        "import sys, torch\nfrom snakelm.training import loop\n"
        "from snakelm.training.adamw import AdamW\n"
        "groups = [{'params': [torch.nn.Parameter(torch.ones(2))], 'lr': 0.1}]\n"
        "made = AdamW(groups, (0.9, 0.99), 1e-8)\n"
        "made.load_state_dict(made.state_dict())\nmade.zero_grad()\n"
        "late = 'torch._dynamo', 'torch.distributed.fsdp'\n"
        "print([name for name in late if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
