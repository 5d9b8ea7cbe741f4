"""Copies of weights: right after every way to change a parameter, and gone with it."""

import copy
import gc
import io
import weakref

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from snakelm.config import Model
from snakelm.model import Decoder
from snakelm.model import working_copies as module
from snakelm.model.working_copies import cached_copy, held_copy, refreshed, working_copy

BF16 = torch.bfloat16


@pytest.fixture
def p() -> nn.Parameter:
    return nn.Parameter(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))


def right(p: nn.Parameter) -> bool:
    return torch.equal(working_copy(p, BF16), p.detach().to(BF16))


def test_is_cast_once(p):
    first = cached_copy(p, BF16)
    assert cached_copy(p, BF16) is first
    assert torch.equal(first, p.detach().to(BF16))
    assert not first.requires_grad


def test_derivative_is_that_of_the_cast(p):
    (working_copy(p, BF16) * torch.arange(3, dtype=BF16)).sum().backward()
    assert p.grad.dtype == torch.float32
    assert torch.equal(p.grad, torch.arange(3.0).expand(5, 3))


def with_optimizer(make):
    def change(p):
        p.grad = torch.ones_like(p)
        make([p]).step()

    return change


def write_no_grad(p):
    with torch.no_grad():
        p[2, 1] = 7.0


def inference_write(p):
    with torch.inference_mode():
        p.mul_(3.0)


def exchange(p):
    p.data = p.detach() + 1


def exchange_and_back(p):
    """Its memory goes and comes: the allocator gives the same address again."""
    values = p.detach().double() * 2
    p.data = torch.empty(0)
    p.data = values.float()


def move_in_its_memory(p):
    p.data = torch.cat([p.detach(), p.detach() + 1]).contiguous()[5:]


def load(p):
    holder = nn.Module()
    holder.p = p
    holder.load_state_dict({"p": p.detach() - 4})


CHANGES = {
    "no_grad": write_no_grad,
    "inference": inference_write,
    "data": exchange,
    "data_twice": exchange_and_back,
    "data_offset": move_in_its_memory,
    "load_state_dict": load,
    "init": lambda p: nn.init.ones_(p),
    "sgd": with_optimizer(lambda ps: torch.optim.SGD(ps, 0.1)),
    "adamw": with_optimizer(lambda ps: torch.optim.AdamW(ps, 0.1)),
    "adamw_fused": with_optimizer(lambda ps: torch.optim.AdamW(ps, 0.1, fused=True)),
    "adamw_foreach": with_optimizer(lambda ps: torch.optim.AdamW(ps, 0.1, foreach=True)),
    "detach": lambda p: p.detach().add_(1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_follows_every_change(p, change):
    assert right(p)
    before = p.detach().clone()
    change(p)
    assert not torch.equal(p.detach(), before)
    assert right(p)


def test_what_an_optimizer_wrote_itself_is_taken_as_it_is(p):
    held = cached_copy(p, BF16)
    assert held_copy(p) is held
    assert held.is_contiguous()
    with torch.no_grad():
        p.add_(1)
        held.copy_(p * 2)  # of no use, but to tell it from a cast
    refreshed(p)
    assert cached_copy(p, BF16) is held
    assert torch.equal(held, (p.detach() * 2).to(BF16))
    write_no_grad(p)
    assert right(p)


def test_backward_through_a_copy_that_has_changed_is_an_error(p):
    x = torch.ones(4, 3, dtype=BF16, requires_grad=True)
    for write in (write_no_grad, refreshed):
        loss = (x @ working_copy(p, BF16).t()).sum()
        write(p)
        working_copy(p, BF16)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_nothing_is_held_where_nothing_is_cast(p):
    assert working_copy(p, torch.float32) is p
    assert held_copy(p) is None
    assert cached_copy(p, torch.float32) is None
    working_copy(p, BF16)
    p.data = p.detach().to(BF16)
    assert working_copy(p, BF16) is p
    assert held_copy(p) is None


def test_only_parameters_have_one(p):
    folded = p * 2
    assert cached_copy(folded, BF16) is None
    working_copy(folded, BF16).sum().backward()
    assert torch.equal(p.grad, torch.full((5, 3), 2.0))


def test_a_copy_dies_with_its_model():
    model = Decoder(Model(), 64, BF16).initialize(torch.Generator().manual_seed(0))
    held, number = weakref.ref(cached_copy(model.head, BF16)), id(model.head)
    assert number in module._HELD
    del model
    gc.collect()
    assert held() is None
    assert number not in module._HELD


def test_memory_that_a_parameter_has_left_is_free(p):
    cached_copy(p, BF16)
    memory = StorageWeakRef(p.untyped_storage())
    assert not memory.expired()
    p.data = torch.zeros(5, 3)
    assert memory.expired()


def test_is_in_no_copy_of_the_parameter(p):
    working_copy(p, BF16)
    assert not p.__dict__
    for made in (copy.deepcopy(p), torch.load(pickled(p), weights_only=True)):
        assert held_copy(made) is None
        write_no_grad(made)
        assert right(made)
        assert right(p)


def pickled(p: nn.Parameter) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(p, buffer)
    assert len(buffer.getvalue()) < 4000
    buffer.seek(0)
    return buffer


def test_transforms_and_traces_cast_for_themselves(p):
    def loss(weight):
        return working_copy(weight, BF16).float().square().sum()

    working_copy(p, BF16)
    expected = 2 * p.detach().to(BF16).float()
    torch.testing.assert_close(torch.func.grad(loss)(p), expected, rtol=1e-2, atol=1e-2)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        assert torch.equal(compiled(p), loss(p))
        write_no_grad(p)  # a trace holds no values


def test_copies_made_in_inference_serve_training(p):
    with torch.inference_mode():
        held = cached_copy(p, BF16)
    x = torch.ones(2, 3, dtype=BF16, requires_grad=True)
    (x @ working_copy(p, BF16).t()).sum().backward()
    assert cached_copy(p, BF16) is held
    assert p.grad is not None
