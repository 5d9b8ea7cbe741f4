"""Devices and threads: how they are chosen, and what a manifest says of the machine that trained, a
GPU's power among it, as far as nvidia-smi tells.
"""

import os

import pytest
import torch

from snakelm import device
from snakelm.device import Device, compiled, power_limit
from snakelm.errors import UserError


def test_a_cpu_is_described_and_has_no_watts():
    cpu = Device(torch.device("cpu"), torch.bfloat16, 2)
    assert cpu.record(3) == {"device": "cpu, bf16, 2 threads", "processes": 3}


@pytest.mark.parametrize(
    ("script", "watts"),
    [
        ('test "$2" = 1 && echo 350.00', 350.0),
        ("echo '[N/A]'", None),
        ("echo 300; exit 9", None),
        (None, None),
    ],
    ids=["known", "not known", "failing", "no nvidia-smi"],
)
def test_the_power_limit_is_what_nvidia_smi_says_of_that_gpu(script, watts, tmp_path, monkeypatch):
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert power_limit(1) == watts


@pytest.mark.parametrize(
    ("most", "began", "free", "processes", "expected"),
    [
        (None, None, 8, 1, 8),
        (4, None, 8, 1, 4),
        (None, None, 8, 4, 2),
        (None, 2, 8, 1, 2),
        (8, 2, 1, 1, 2),
        (1, 2, 8, 1, 1),
    ],
    ids=["all_free", "at_most", "shared", "as_begun", "as_begun_though_busy", "fewer_if_limited"],
)
def test_threads(monkeypatch, most, began, free, processes, expected):
    monkeypatch.setattr(device, "free_cores", lambda: free)
    warnings = []
    assert device.choose_threads(most, began, processes, warnings.append) == expected
    assert bool(warnings) == (began is not None and expected != began)


def test_free_cores_are_some_and_not_more_than_allowed():
    assert 1 <= device.free_cores(0.05) <= len(os.sched_getaffinity(0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_named():
    with pytest.raises(UserError, match=r"train\.device: cuda is not available"):
        device.set_up_device("cuda", "auto", 1)


CPU = Device(torch.device("cpu"), torch.float32, 1)


@pytest.mark.parametrize(
    ("variable", "compiler"),
    [("g++", "g++"), ("env g++ -O1", "g++"), ("", "g++"), (None, "g++"), ("c++", "c++")],
    ids=["a compiler", "a wrapper and options", "empty", "unset", "another one"],
)
def test_torch_compile_gets_the_compiler_that_cxx_means(variable, compiler, monkeypatch):
    config = pytest.importorskip("torch._inductor.config")
    monkeypatch.setattr(torch, "compile", lambda model: model)
    monkeypatch.setattr(device.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(device.sys, "platform", "linux")
    if variable is None:
        monkeypatch.delenv("CXX", raising=False)
    else:
        monkeypatch.setenv("CXX", variable)

    with config.patch({"cpp.cxx": (None, "as it was")}):
        compiled(torch.nn.Identity(), CPU)
        assert config.cpp.cxx == (None, compiler)


def test_without_a_compiler_train_compile_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CXX", "ccache no-such-compiler")
    with pytest.raises(UserError, match=r"^train\.compile: .* no-such-compiler is not here"):
        compiled(torch.nn.Identity(), CPU)
