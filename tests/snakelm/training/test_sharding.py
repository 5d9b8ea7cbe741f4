"""Sharded training is the unsharded one: the same steps, the same state, in two real processes."""

import copy
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from snakelm.config import Model, Train, from_mapping
from snakelm.errors import UserError
from snakelm.model import Decoder
from snakelm.training.batches import Rows
from snakelm.training.distributed import World
from snakelm.training.optimizer import Optimizer
from snakelm.training.row_exchange import RowExchange, row_span
from snakelm.training.sharding import ShardedOptimizer, Shards, is_sharded
from snakelm.training.step import sharded_step, training_step

SHAPE = Model(layers=3, width=34, heads=2, kv_heads=1, head_dim=16, hidden=49, context=16)
VOCAB = 61  # odd: the processes have 31 and 30 rows
STEPS = 3
# Unclipped: the norm of shards is summed in another order, and would be the only difference.
TRAIN = Train(steps=STEPS, batch_tokens=64, micro_batch=2, warmup=1, clip=None)


def decoder(shape, dtype=torch.float32):
    made = Decoder(shape, VOCAB).initialize(torch.Generator().manual_seed(0))
    made.compute_dtype = dtype
    return made


def rows(rank, step, count):
    generator = np.random.default_rng([rank, step])
    tokens = generator.integers(0, VOCAB, (count, SHAPE.context + 1))
    start = np.zeros((count, SHAPE.context), np.int32)
    start[:, 7:] = 7
    return Rows(tokens[:, :-1].copy(), tokens[:, 1:].copy(), start)


def train(take, forward, optimizer, world, counts, keys, first=0):
    return [
        take(
            step,
            forward,
            optimizer,
            rows(world.rank, step, counts[world.rank]),
            SHAPE.context * sum(counts),
            keys,
            world,
            lambda: False,
        )
        for step in range(first, STEPS)
    ]


def both(world, shape, counts, keys=TRAIN, dtype=torch.float32, again=False):
    """Unsharded and sharded: the results of their steps, the weights and the optimizers' states."""
    plain, model = decoder(shape, dtype), decoder(shape, dtype)
    model.checkpoint_blocks = again
    optimizer = Optimizer(plain, keys)
    expected = train(training_step, plain, optimizer, world, counts, keys)

    shards = Shards(model, world)
    sharded = ShardedOptimizer(shards, keys)
    results = train(sharded_step, model, sharded, world, counts, keys)
    return (
        (expected, plain.state_dict(), optimizer.state_dict()),
        (results, shards.whole().state_dict(), sharded.state_dict()),
        shards,
    )


def flat(values):
    """Every tensor and number of nested mappings, by its way there."""
    if isinstance(values, dict):
        return {(k, *way): x for k, v in values.items() for way, x in flat(v).items()}
    return {(): values}


def assert_equal(a, b, **tolerance):
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for way, value in a.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(b[way], value, **tolerance, msg=lambda m, w=way: f"{w}: {m}")
        else:
            assert b[way] == value, way


def check_equal_steps(world):
    """To the bit, where every process has one micro-batch; embedding and head apart, and tied."""
    tied = SHAPE.model_copy(update={"tie_embeddings": True, "embedding_norm": False})
    for shape in (SHAPE, tied):
        (expected, weights, state), (results, whole, got), shards = both(world, shape, [2, 2])
        assert [r.loss for r in results] == [r.loss for r in expected]
        norms = [r.grad_norm for r in expected]
        assert [r.grad_norm for r in results] == pytest.approx(norms, rel=1e-6)
        assert_equal(weights, whole, atol=2e-3, rtol=0)  # Muon's products in other batches
        for name in ("embedding", "norm", "layers.1.mlp_norm"):
            torch.testing.assert_close(weights[name], whole[name], atol=1e-3, rtol=0)
        if world.writes:
            assert_equal(state, got, atol=2e-3, rtol=1e-2)
        own = sum(p.numel() for p in shards.pieces.values())
        assert own < 0.6 * sum(p.numel() for p in decoder(shape).parameters())


def check_unequal_shares(world):
    """One process has three micro-batches, the other one none."""
    first, second, _ = both(world, SHAPE, [5, 0])
    assert [r.loss for r in second[0]] == pytest.approx([r.loss for r in first[0]], rel=1e-4)


def check_clipped_rounded_checkpointed(world):
    keys = TRAIN.model_copy(update={"clip": 0.1})
    first, second, _ = both(world, SHAPE, [2, 2], keys, torch.bfloat16, again=True)
    assert all(r.grad_norm > 0.1 for r in first[0])
    assert [r.loss for r in second[0]] == pytest.approx([r.loss for r in first[0]], rel=2e-2)
    norms = [r.grad_norm for r in first[0]]
    assert [r.grad_norm for r in second[0]] == pytest.approx(norms, rel=5e-2)


def check_state_goes_on(world):
    """Unsharded, then sharded from its state, then unsharded again: as if nothing had been."""
    alone = decoder(SHAPE)
    optimizer = Optimizer(alone, TRAIN)
    train(training_step, alone, optimizer, world, [2, 2], TRAIN, first=STEPS - 1)
    state = copy.deepcopy(optimizer.state_dict())

    model = decoder(SHAPE)
    model.load_state_dict(alone.state_dict())
    shards = Shards(model, world)
    sharded = ShardedOptimizer(shards, TRAIN)
    sharded.load_state_dict(state)
    got, weights = sharded.state_dict(), shards.weights()
    if world.writes:
        assert_equal(state, got, atol=0, rtol=0)
        assert_equal(alone.state_dict(), weights, atol=0, rtol=0)
    else:
        assert not weights


CHECKS = [
    check_equal_steps,
    check_unequal_shares,
    check_clipped_rounded_checkpointed,
    check_state_goes_on,
]


def _process(rank, folder):
    torch.set_num_threads(1)
    store = dist.FileStore(str(Path(folder, "store")), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(0, 120))
    try:
        for check in CHECKS:
            check(World(rank, 2, rank, 2))
    finally:
        dist.destroy_process_group()


def test_two_processes_train_sharded_as_unsharded(tmp_path):
    processes.spawn(_process, (tmp_path,), nprocs=2)


def test_matrices_are_shared_out_evenly_and_rows_without_a_gap():
    shapes = {f"{layer}.{n}": (n, 8) for layer in range(10) for n in (16, 16, 40)}
    loads = [
        sum(8 * shapes[name][0] for name in RowExchange(shapes, rank, 4).owned) for rank in range(4)
    ]
    assert sum(loads) == sum(8 * n for n, _ in shapes.values())
    assert max(loads) <= 1.2 * sum(loads) / 4
    for count in (1, 3, 7, 8):
        for size in (1, 2, 5, 9):
            own = [list(range(count))[row_span(count, rank, size)] for rank in range(size)]
            assert [row for one in own for row in one] == list(range(count))
            chunks = [len(chunk) for chunk in torch.arange(count).chunk(size)]
            assert [len(one) for one in own] == chunks + [0] * (size - len(chunks))


def test_what_cannot_be_sharded_is_refused_or_said():
    for key in ({"reproducible": 2}, {"compile": "on"}):
        with pytest.raises(UserError, match=r"train\.sharding: fsdp"):
            from_mapping({"train": {"sharding": "fsdp", **key}})
    said = []
    assert not is_sharded(Train(sharding="fsdp"), World(), said.append)
    assert "one process" in said[0]
    assert is_sharded(Train(sharding="fsdp"), World(0, 2), said.append)
    assert not is_sharded(Train(), World(0, 2), said.append)
