"""Before the first step: sizes that can't work are refused, and a line says what the run takes."""

import importlib.util
from pathlib import Path

import pytest
import torch

from snakelm.config import from_mapping, load_config
from snakelm.device import Device
from snakelm.errors import UserError
from snakelm.training.plan import check_sizes, make_plan

ROOT = Path(__file__).resolve().parents[3]
CPU = Device(torch.device("cpu"), torch.float32, 1)


def test_sizes_that_cannot_work_are_refused(make_bin):
    train = make_bin([300] * 10)
    with pytest.raises(UserError, match="made for 50 tokens, the tokenizer has 60"):
        check_sizes(train, 60, 2048, 256, 1)
    with pytest.raises(UserError, match=r"train\.batch_tokens"):
        check_sizes(train, 50, 2048, 256, 9)
    check_sizes(train, 50, 2048, 256, 8)


def test_the_plan_is_a_line_of_what_the_run_takes():
    plan = make_plan(load_config().model, 50, 1_500_000, 1.5, 8, CPU, 1e9, 1)
    assert plan.summary().startswith("PREFLIGHT ")
    assert "1.5M tokens (1.50 epochs)" in plan.summary()
    assert "an estimate" in plan.summary()


CASES = {"plain": {}, "average": {"average": 0.1}, "best": {"keep_best": True}}


def _memory(config=None, device=CPU, rows=8, world=1, heldout=10**6):
    loaded = from_mapping(config or {})
    plan = make_plan(
        loaded.model, 8192, 10**6, 0.5, rows, device, 1e9, world, heldout, None, loaded.train
    )
    return plan.memory


def test_the_memory_said_counts_what_a_process_holds():
    """Torch without a model is most of a small run; benchmarks/memory.py measures the rest."""
    smoke = {"preset": "smoke", "model": {"layers": 1}}
    assert 400e6 < _memory(smoke, heldout=0) < 500e6
    tiny_evaluation = _memory(heldout=100)
    assert _memory() - tiny_evaluation > 50e6, "logits of an evaluation"
    assert _memory(rows=64) > 1.3 * _memory(), "activations"
    assert _memory(world=2) > _memory(), "gradients as one tensor"
    assert _memory({"model": {"layers": 24}}) > 2 * _memory()
    deep = {"model": {"layers": 24}}
    again = {**deep, "train": {"activation_checkpointing": True}}
    shared = {**deep, "train": {"sharding": "fsdp"}}
    activations = _memory(deep, rows=64) - _memory(deep, rows=0)
    left = _memory(again, rows=64) - _memory(deep, rows=0)
    assert left < activations / 4, "of each layer what goes into it, and one layer"
    gpu = {"device": Device(torch.device("cuda"), torch.bfloat16, 1), "rows": 0, "heldout": 0}
    whole = _memory(deep, world=16, **gpu)
    assert _memory(shared, world=16, **gpu) < whole / 2, "a sixteenth of the states"
    assert _memory(shared, world=1, **gpu) == _memory(deep, world=1, **gpu)


def test_the_memory_said_counts_the_weights_that_are_kept_besides_and_the_masks():
    """Of 5.5M parameters in float32, and again in the checkpoint; of a GPU, what is on it."""
    plain, weights = _memory(), 22e6
    for key in ({"average": 0.1}, {"keep_best": True}):
        assert _memory({"train": key}) - plain == pytest.approx(2 * weights, rel=0.05), key
    assert _memory({"train": {"dropout": 0.1}}) > plain

    gpu = Device(torch.device("cuda"), torch.bfloat16, 1)
    on_it = {key: _memory({"train": train}, gpu) for key, train in CASES.items()}
    assert on_it["average"] - on_it["plain"] == pytest.approx(weights, rel=0.05)
    assert on_it["best"] == on_it["plain"]


def test_the_memory_said_of_a_gpu_is_its_own_and_of_processes_is_each_ones():
    gpu = Device(torch.device("cuda"), torch.bfloat16, 1)
    plan = make_plan(load_config().model, 8192, 10**6, 0.5, 8, gpu, 1e12, 4, 10**6)
    assert "GPU memory about" in plan.summary()
    assert "what the driver takes not counted in each of 4 processes" in plan.summary()
    assert plan.memory < _memory(device=Device(torch.device("cpu"), torch.bfloat16, 1)) - 450e6


@pytest.mark.long
@pytest.mark.parametrize("run", ["default", "4x256, context 512, 16 rows"])
def test_the_memory_said_is_what_a_run_takes(run, tmp_path):
    """A minute: pytest -m long tests/snakelm/training/test_plan.py. benchmarks/memory.py has more
    runs.
    """
    spec = importlib.util.spec_from_file_location("memory", ROOT / "benchmarks/memory.py")
    memory = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(memory)
    said, peak = memory.measure(tmp_path, *memory.RUNS[run])
    assert 1 / 1.2 < said / peak < 1.2
