"""The line on backends names what the model really calls, and what those calls really take."""

import importlib

import pytest
import torch

from pytorch_ext import dispatch, total_norm
from pytorch_ext.dispatch import TABLE
from snakelm.config import Model, Train
from snakelm.device import Device
from snakelm.errors import UserError
from snakelm.model import Decoder
from snakelm.training.operators import check_attention, operators_taken
from snakelm.training.optimizer import Optimizer

CPU = Device(torch.device("cpu"), torch.float32, 1)


def shape(qk_norm):
    sizes = {"width": 16, "heads": 2, "kv_heads": 1, "head_dim": 8, "hidden": 24, "context": 8}
    return Model(layers=1, qk_norm=qk_norm, **sizes)


@pytest.mark.parametrize("asked", [None, "sdpa", "cpu:portable"])
@pytest.mark.parametrize("qk_norm", [True, False], ids=["qwen", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_what_is_said_is_what_a_step_takes(dtype, qk_norm, asked, monkeypatch):
    device = Device(torch.device("cpu"), dtype, 1)
    said = operators_taken(shape(qk_norm), device, asked)
    taken = {}

    def spy(operator, requested, tensor_name, tensor):
        chosen = dispatch.choose(operator, requested, tensor_name, tensor)
        taken.setdefault(operator, set()).add(chosen[0])
        return chosen

    for name in TABLE:
        monkeypatch.setattr(importlib.import_module(f"pytorch_ext.ops.{name}"), "choose", spy)
    monkeypatch.setattr("snakelm.model.fused_block.choose", spy)
    model = Decoder(shape(qk_norm), 31, dtype, asked).initialize(torch.Generator().manual_seed(0))
    tokens = torch.zeros(1, 8, dtype=torch.long)
    model(tokens, targets_BT=tokens).backward()
    optimizer = Optimizer(model, Train())
    total_norm([p.grad for p in optimizer.parameters])
    optimizer.step(1.0, 0.9)

    assert {name: {full.partition(":")[0]} for name, full in said.items()} == taken
    if asked:
        assert said["attention"] == asked


def test_a_missing_attention_kernel_is_named():
    with pytest.raises(UserError, match=r"train\.attention"):
        check_attention(CPU, "cuda")
