"""A run trains on the threads that it says."""

import torch

from snakelm import device
from snakelm.training import loop
from tests.scripts.training.test_train import main


def test_every_step_runs_on_the_threads_that_the_log_names(results, monkeypatch, capfd):
    one_step, used, before = loop.training_step, set(), torch.get_num_threads()

    def watched(*arguments):
        used.add(torch.get_num_threads())
        return one_step(*arguments)

    monkeypatch.setattr(loop, "training_step", watched)
    monkeypatch.setattr(device, "free_cores", lambda: 2)
    try:
        assert main(results.arguments(results.config(steps=3), "--threads", "2")) == 0
    finally:
        torch.set_num_threads(before)
    assert ", 2 threads;" in capfd.readouterr().err
    assert used == {2}
