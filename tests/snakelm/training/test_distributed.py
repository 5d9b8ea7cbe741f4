"""Which backend processes talk through. NCCL itself needs GPUs, two for two processes; what stands
in for them here only shows that it is chosen, and gets nothing that isn't on a GPU.
"""

import numpy as np
import pytest
import torch
import torch.distributed as dist

from snakelm.training.distributed import process_group


@pytest.fixture
def made(monkeypatch, tmp_path):
    """The calls that make a world of one process, as torchrun starts it, on a host with a GPU."""
    made: dict[str, object] = {}
    names = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    for name, value in {**names, "TORCHELASTIC_RUN_ID": "test"}.items():
        monkeypatch.setenv(name, value)
    store = dist.FileStore(str(tmp_path / "store"), 1)
    monkeypatch.setattr("snakelm.training.distributed._meeting_place", lambda size: store)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: made.update(device=device))
    monkeypatch.setattr(
        dist, "init_process_group", lambda backend, **_: made.update(backend=backend)
    )
    monkeypatch.setattr(dist, "get_backend", lambda: made["backend"])
    monkeypatch.setattr(dist, "destroy_process_group", lambda: made.update(ended=True))
    return made


@pytest.mark.parametrize(
    ("device", "backend"), [("auto", "nccl"), ("cuda", "nccl"), ("cpu", "gloo")]
)
def test_processes_talk_through_nccl_where_each_has_a_gpu(made, device, backend):
    with process_group(device) as world:
        assert (world.rank, world.size) == (0, 1)
    gpu = {"device": 0} if backend == "nccl" else {}
    assert made == {"backend": backend, "ended": True, **gpu}


def test_without_a_gpu_through_gloo(made, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with process_group("auto"):
        assert made == {"backend": "gloo"}


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
def test_nccl_gets_nothing_that_is_not_on_a_gpu(made, backend, monkeypatch):
    moved, sent = [], []
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: moved.append(tensor) or tensor)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, *_: sent.append(tensor))
    monkeypatch.setattr(dist, "broadcast", lambda tensor, _: sent.append(tensor))
    with process_group("cpu") as world:
        made["backend"] = backend
        object.__setattr__(world, "size", 2)
        assert world.most(3) == 3
        assert world.sum_losses(np.ones(2), 2).tolist() == [1.0, 1.0]
        world.broadcast([torch.nn.Parameter(torch.ones(2))])
    assert len(sent) == 3
    assert [id(one) for one in moved] == ([id(one) for one in sent] if backend == "nccl" else [])
