"""Before the first step: sizes that can't work are refused, and a line says what the run takes."""

import pytest
import torch

from snakelm.config import load_config
from snakelm.device import Device
from snakelm.errors import UserError
from snakelm.training.plan import check_attention, check_sizes, make_plan

CPU = Device(torch.device("cpu"), torch.float32, 1)


def test_a_missing_attention_kernel_is_named():
    with pytest.raises(UserError, match=r"train\.attention"):
        check_attention(CPU, "cuda")


def test_sizes_that_cannot_work_are_refused(make_bin):
    train = make_bin([300] * 10)
    with pytest.raises(UserError, match="made for 50 tokens, the tokenizer has 60"):
        check_sizes(train, 60, 2048, 256, 1)
    with pytest.raises(UserError, match=r"train\.batch_tokens"):
        check_sizes(train, 50, 2048, 256, 3)
    check_sizes(train, 50, 2048, 256, 2)


def test_the_plan_is_a_line_of_what_the_run_takes():
    plan = make_plan(load_config().model, 50, 1_500_000, 1.5, 8, CPU, 1e9, 1)
    assert plan.summary().startswith("PREFLIGHT ")
    assert "1.5M tokens (1.50 epochs)" in plan.summary()
    assert "an estimate" in plan.summary()
