"""Dropout, averaged weights and the best ones, as a user has them: the same bytes after a stop (and
from two processes: test_train_processes.py), and settings that can't be meant refused before the
first step.
"""

import dataclasses
import os
import signal

import numpy as np
import pytest
import torch

from snakelm.data.bins import BinWriter, open_bin
from snakelm.errors import Interrupted, UserError
from snakelm.model import load_model
from snakelm.training import loop, pretraining
from snakelm.workflow.manifest import read_manifest
from tests.scripts.training.conftest import EVERYTHING, make_training_results
from tests.scripts.training.test_train import main, rows, stop_at, train

ALL = {**EVERYTHING, "steps": 24, "eval_every": 8, "sample_tokens": 0}


def result_of(results):
    return read_manifest(results.folder / "final_model.pt")["counts"]["result"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The hash of the model of a run that nothing stops, and the run."""
    results = make_training_results(tmp_path_factory.mktemp("uninterrupted"))
    return train(results, results.config(**ALL)), results


@pytest.mark.parametrize("step", [8, 18], ids=["evaluation", "between"])
def test_a_stopped_run_ends_with_the_same_bytes(uninterrupted, results, monkeypatch, step):
    expected, whole = uninterrupted
    stop_at(monkeypatch, step)
    with pytest.raises(Interrupted, match=f"saved step {step}"):
        main(results.arguments(results.config(**ALL)))
    monkeypatch.undo()
    assert train(results, results.config(**ALL)) == expected
    assert [r["val_bpb"] for r in rows(results)] == [r["val_bpb"] for r in rows(whole)]


@pytest.mark.parametrize("evaluation", ["along_the_way", "of_all_text"])
def test_a_stop_in_the_last_evaluation_ends_with_the_same_bytes(
    uninterrupted, results, monkeypatch, evaluation
):
    """The model has the average's weights then, or the best's."""
    expected, _ = uninterrupted
    validate = pretraining.Pretraining.validate

    def signalled(self, model, step, last, *more):
        if step == 24 and last == (evaluation == "of_all_text"):
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(self, model, step, last, *more)

    monkeypatch.setattr(pretraining.Pretraining, "validate", signalled)
    with pytest.raises(Interrupted, match="saved step 24"):
        main(results.arguments(results.config(**ALL)))
    monkeypatch.undo()
    assert train(results, results.config(**ALL)) == expected


def test_a_finished_run_writes_the_same_model_again(uninterrupted, monkeypatch):
    expected, results = uninterrupted
    before = result_of(results)
    (results.folder / "final_model.pt").unlink()
    monkeypatch.setattr(loop, "training_step", None)
    assert train(results, results.config(**ALL)) == expected
    assert result_of(results) == before


def test_the_manifest_and_the_log_say_what_was_on(uninterrupted):
    _, results = uninterrupted
    result, record = result_of(results), load_model(results.folder / "final_model.pt")[1]
    on = {"dropout", "weight_decay", "weight_decay_schedule", "average", "keep_best"}
    assert (result["regime"]["name"], set(result["regime"]["settings"])) == ("repeated", on)
    assert record["step"] == result["weights_of_step"]
    log = (results.folder / "logs/training.log").read_text()
    assert log.count("repeated text (") == 1


def test_the_best_weights_are_those_of_the_best_evaluation(results, monkeypatch):
    """Evaluations that say the second is the best, and the weights that each one saw."""
    said, seen = {4: 3.0, 8: 1.0, 12: 2.0}, {}

    def validate(self, model, step, last, *more):
        seen[step, last] = {name: p.clone() for name, p in model.state_dict().items()}
        bpb = said[step]
        return {"val_loss": bpb, "val_bpb": bpb, "val_bpb_clean": bpb}

    monkeypatch.setattr(pretraining.Pretraining, "validate", validate)
    train(results, results.config(keep_best=True, steps=12, eval_every=4))
    model, record = load_model(results.folder / "final_model.pt")
    assert record["step"] == result_of(results)["weights_of_step"] == 8
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, seen[8, False][name]), name
        assert torch.equal(weight, seen[12, True][name]), name
    assert any(not torch.equal(w, seen[12, False][n]) for n, w in model.state_dict().items())


def test_the_average_is_what_is_evaluated_and_written(results, monkeypatch):
    """With a memory of all steps it is their plain mean."""
    steps, evaluated, took_step = [], [], loop.JudgedWeights.took_step
    validate = pretraining.Pretraining.validate

    def noted(self, step):
        took_step(self, step)
        steps.append({name: p.detach().clone() for name, p in self.parameters.items()})

    def seen(self, model, *more):
        evaluated.append({name: p.clone() for name, p in model.state_dict().items()})
        return validate(self, model, *more)

    monkeypatch.setattr(loop.JudgedWeights, "took_step", noted)
    monkeypatch.setattr(pretraining.Pretraining, "validate", seen)
    train(results, results.config(average=1.0, steps=12, eval_every=6))
    model, _ = load_model(results.folder / "final_model.pt")
    for name, weight in model.state_dict().items():
        for count, found in ((6, evaluated[0][name]), (12, evaluated[1][name])):
            mean = torch.stack([one[name].double() for one in steps[:count]]).mean(0)
            torch.testing.assert_close(found.double(), mean, rtol=1e-5, atol=1e-6)
        assert torch.equal(weight, evaluated[1][name])


@pytest.mark.parametrize(
    ("weight", "regime", "warned"),
    [(8.0, "auto", True), (8.0, "fresh", False), (1.0, "auto", False)],
)
def test_text_that_weights_repeat_within_an_epoch_is_said(
    make_results, capfd, weight, regime, warned
):
    results = make_results("weighted")
    path = results.folder / "data/processed/train.bin"
    old = open_bin(path)
    meta = dataclasses.replace(old.meta, tokens=0, documents=0, weights={"a": weight})
    places = old.document_offsets[:21].copy()
    tokens, ids = old.tokens[: places[-1]].copy(), old.document_ids[:20].copy()
    lengths = np.diff(places)
    with BinWriter(path, meta) as writer:
        for _ in range(int(weight)):
            writer.append(tokens, lengths, ids, 0)

    steps = int(1.5 * tokens.size * weight / 256)  # epochs, of 12 readings where eight are in one
    train(results, results.config(regime=regime, steps=steps, sample_tokens=0))
    said = " ".join(capfd.readouterr().err.split())
    assert ("weights repeat text within one" in said) == warned


def test_the_best_of_no_held_out_text_is_refused(results):
    path = results.folder / "data/processed/val.bin"
    meta = open_bin(path).meta
    meta.tokens = meta.documents = meta.text_bytes = meta.max_token = 0
    with BinWriter(path, meta):
        pass
    np.save(results.folder / "data/processed/val_overlap.npy", np.zeros(0))
    with pytest.raises(UserError, match=r"train\.keep_best: there is no held-out text"):
        main(results.arguments(results.config(keep_best=True)))
    assert not results.checkpoints()
