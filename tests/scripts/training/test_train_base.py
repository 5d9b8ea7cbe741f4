"""Pretraining from a base as a user runs it: what it says and leaves, that it resumes to the same
bytes, and that what the base holds decides.
"""

import json
import math
import os
import shutil
import signal

import numpy as np
import pytest
import torch
import yaml

from snakelm.errors import Interrupted
from snakelm.files import sha256_file
from snakelm.model import load_model
from snakelm.model.export import export
from snakelm.tokenizer import EOT, Tokenizer
from snakelm.training import loop
from snakelm.training.pretraining import Pretraining
from snakelm.training.validation import Evaluation
from tests.scripts.training.conftest import TINY
from tests.scripts.training.test_train import main, rows

SHORT = {"steps": 20, "eval_every": 10, "save_every": 5, "sampled_softmax": "off", "lr": 0.01}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run and its export, copied by the tests."""
    from tests.scripts.training.conftest import make_training_results

    results = make_training_results(tmp_path_factory.mktemp("made") / "first")
    assert main(results.arguments(results.config(**{**SHORT, "lr": 0.045}))) == 0
    tokenizer = Tokenizer.load(results.folder / "tokenizer")
    export(results.folder / "final_model.pt", tokenizer, results.folder / "final", "")
    return results


def based(results, base, **train):
    """The configuration of a run of ``results`` from ``base``."""
    path = results.folder / f"based-{len(list(results.folder.glob('based-*')))}.yaml"
    keys = {**{k: TINY["train"][k] for k in ("batch_tokens", "micro_batch", "warmup", "precision")}}
    keys |= {"eval_tokens": 400, "sample_tokens": 4, **SHORT, "base": str(base), **train}
    path.write_text(yaml.safe_dump({"train": keys}))
    return path


def result_of(results):
    manifest = json.loads((results.folder / "final_model.pt.manifest.json").read_text())
    return manifest, manifest["counts"]["result"]


def test_goes_on_from_a_run_s_file_and_says_what_it_gave(made, results, capfd):
    base = made.folder / "final_model.pt"
    assert main(results.arguments(based(results, base))) == 0
    manifest, result = result_of(results)
    before, first = result["val_bpb_before"], result_of(made)[1]
    assert before == pytest.approx(first["val_bpb"], rel=1e-5), "the base as its own run left it"
    assert result["val_bpb"] < before
    assert f"before the first step: val bpb {before:.4f}" in capfd.readouterr().err
    zero, *_ = rows(results)
    assert (zero["step"], float(zero["val_bpb"])) == ("0", pytest.approx(before, rel=1e-4))
    assert manifest["counts"]["base"]["sha256"] == sha256_file(base)
    assert sha256_file(base) in {one["sha256"] for one in manifest["inputs"]}


def test_a_stopped_run_needs_its_base_no_more_and_ends_with_the_same_bytes(
    made, make_results, monkeypatch
):
    whole, stopped = make_results("whole"), make_results("stopped")
    base = made.folder / "final_model.pt"
    assert main(whole.arguments(based(whole, base))) == 0
    one_step = loop.training_step

    def signalled(done, *more):
        if done == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_step(done, *more)

    config = based(stopped, base)
    monkeypatch.setattr(loop, "training_step", signalled)
    with pytest.raises(Interrupted):
        main(stopped.arguments(config))
    monkeypatch.undo()
    monkeypatch.setattr("snakelm.training.pretraining.from_base", None)
    assert main(stopped.arguments(config)) == 0
    models = [sha256_file(r.folder / "final_model.pt") for r in (whole, stopped)]
    assert models[0] == models[1]
    assert result_of(whole)[1]["val_bpb_before"] == result_of(stopped)[1]["val_bpb_before"]


def test_what_the_base_holds_decides_and_not_where_it_lies(made, results, monkeypatch):
    moved = results.folder.parent / "elsewhere"
    shutil.copytree(made.folder / "final", moved)
    old = Tokenizer.load(made.folder / "tokenizer")
    assert set(old.special_tokens) == {EOT}, "the run's has chat tokens too: four new rows"
    config = based(results, moved)
    prepare_for(results, moved)
    assert main(results.arguments(config)) == 0
    model, _ = load_model(results.folder / "final_model.pt")
    assert model.vocab_size == old.vocab_size + 4
    first = result_of(results)[1]["fingerprint"]

    shutil.move(moved, moved.with_name("again"))
    monkeypatch.setattr(loop, "training_step", None)
    assert main(results.arguments(based(results, moved.with_name("again")))) == 0
    assert result_of(results)[1]["fingerprint"] == first
    monkeypatch.undo()

    weights = moved.with_name("again") / "model.safetensors"
    replaced(weights)
    assert main(results.arguments(based(results, weights.parent))) == 0
    assert result_of(results)[1]["fingerprint"] != first


def replaced(weights):
    """Other numbers in the same shapes."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    tensors["model.norm.weight"] = torch.ones_like(tensors["model.norm.weight"])
    save_file(tensors, weights, metadata={"format": "pt"})


def prepare_for(results, base):
    """Token files of the tokenizer that the run takes over from ``base``."""
    from snakelm.data.bins import BinWriter, open_bin
    from snakelm.tokenizer.of_base import tokenizer_of_base

    tokenizer = tokenizer_of_base(base).tokenizer
    tokenizer.save(results.folder / "tokenizer")
    for split in ("train", "val"):
        path = results.folder / f"data/processed/{split}.bin"
        old = open_bin(path)
        ids, starts = old.tokens[:].copy(), old.document_offsets[:].copy()
        names, text = old.document_ids[:].copy(), int(old.meta.text_bytes)
        meta = type(old.meta)("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256)
        with BinWriter(path, meta) as writer:
            lengths = starts[1:] - starts[:-1]
            writer.append(ids.astype("int64"), lengths, names, text)


def test_the_best_of_a_run_with_a_base_is_chosen_by_the_same_text(
    made, results, monkeypatch, capfd
):
    """Before the first step all held-out text is measured. Here that is easier than the part that
    the evaluations along the way take, on which each is better than the one before.
    """
    of_part = iter([2.0, 1.9, 1.8, 1.7, 1.6])

    def evaluated(self, model, most_tokens, *more):
        bits = 1.0 if most_tokens is None else next(of_part)
        one = np.ones(1, np.int64)
        return Evaluation(bits * math.log(2) * np.ones(1), one, one, np.ones(1, bool))

    monkeypatch.setattr(Pretraining, "_evaluate", evaluated)
    base = made.folder / "final_model.pt"
    assert main(results.arguments(based(results, base, keep_best=True, eval_every=5))) == 0
    result = result_of(results)[1]
    assert result["val_bpb_before"] == float(rows(results)[0]["val_bpb"]) == 1.0, "of all of it"
    assert capfd.readouterr().err.count("before the first step:") == 1
    assert result["weights_of_step"] == 20
    model, before = (load_model(r.folder / "final_model.pt")[0] for r in (results, made))
    assert not torch.equal(model.embedding, before.embedding)


@pytest.mark.parametrize(("eval_tokens", "best"), [(20, (1.9, 10)), (None, (1.0, 0))])
def test_a_base_is_the_best_so_far_only_of_the_text_that_the_others_take(
    made, results, monkeypatch, eval_tokens, best
):
    """What the line behind the progress bar says."""
    said, seen = {0: 1.0, 5: 2.0, 10: 1.9, 15: 2.5, 20: 1.0}, []

    def validate(self, model, step, last, *more):
        return {"val_loss": said[step], "val_bpb": said[step], "val_bpb_clean": said[step]}

    def line(row, best, metric):
        seen.append((best.value, best.step))
        return ""

    monkeypatch.setattr(Pretraining, "validate", validate)
    monkeypatch.setattr(loop, "status_line", line)
    base = made.folder / "final_model.pt"
    config = based(results, base, eval_every=5, eval_tokens=eval_tokens)
    assert main(results.arguments(config)) == 0
    assert seen[-1] == best


def test_weights_of_the_base_are_said_to_be_those_of_step_0(made, results, monkeypatch):
    said = {0: 1.0, 5: 3.0, 10: 2.0, 15: 2.5, 20: 1.5}

    def validate(self, model, step, last, *more):
        return {"val_loss": said[step], "val_bpb": said[step], "val_bpb_clean": said[step]}

    monkeypatch.setattr(Pretraining, "validate", validate)
    base = made.folder / "final_model.pt"
    assert main(results.arguments(based(results, base, keep_best=True, eval_every=5))) == 0
    model, record = load_model(results.folder / "final_model.pt")
    assert record["step"] == result_of(results)[1]["weights_of_step"] == 0
    for name, weight in load_model(base)[0].state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
