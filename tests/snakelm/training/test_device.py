"""What a manifest says of the machine that trained, a GPU's power among it, as far as anybody
tells.
"""

import pytest
import torch

from snakelm.training.device import Place, power_limit


def test_a_cpu_is_told_in_words_and_has_no_watts():
    place = Place(torch.device("cpu"), torch.bfloat16, 2)
    assert place.record(3) == {"device": "cpu, bf16, 2 threads", "processes": 3}


@pytest.mark.parametrize(
    ("script", "watts"),
    [
        ('test "$2" = 1 && echo 350.00', 350.0),
        ("echo '[N/A]'", None),
        ("echo 300; exit 9", None),
        (None, None),
    ],
    ids=["told", "not known", "failing", "no nvidia-smi"],
)
def test_the_power_limit_is_what_nvidia_smi_says_of_that_gpu(script, watts, tmp_path, monkeypatch):
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert power_limit(1) == watts
