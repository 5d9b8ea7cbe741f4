"""The trainer as a user runs it: what it leaves, what it says, and what it does when it is run
again.
"""

import csv
import importlib.util
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from snakelm import device
from snakelm.errors import Interrupted, UserError
from snakelm.files import sha256_file
from snakelm.model import load_model
from snakelm.training import checkpoint, loop, pretraining
from snakelm.workflow.manifest import read_manifest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/training/train.py"


def load_main():
    spec = importlib.util.spec_from_file_location("train_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


main = load_main()


def train(results, config, *more):
    assert main(results.arguments(config, *more)) == 0
    return sha256_file(results.folder / "final_model.pt")


def rows(results):
    with open(results.folder / "logs/training_metrics.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_leaves_model_manifest_metrics_samples_and_log(results, capfd):
    train(results, results.config())
    model, record = load_model(results.folder / "final_model.pt")
    assert record["step"] == 60
    assert model.vocab_size == 257
    manifest = json.loads((results.folder / "final_model.pt.manifest.json").read_text())
    assert (
        manifest["counts"]["result"]["val_bpb"] < 3.5
    )  # eight bits a byte for a model that knows nothing
    assert manifest["counts"]["result"]["fingerprint"] == record["fingerprint"]
    operators = manifest["counts"]["result"]["operators"]
    steps = [int(r["step"]) for r in rows(results)]
    assert steps == sorted(set(steps))
    assert [int(r["step"]) for r in rows(results) if r["val_bpb"]] == [20, 40, 60]
    samples = [
        json.loads(s) for s in (results.folder / "logs/samples.jsonl").read_text().splitlines()
    ]
    assert [s["step"] for s in samples] == [20, 40, 60]
    log = (results.folder / "logs/training.log").read_text()
    assert "PREFLIGHT" in log
    said = ", ".join(f"{name} {backend}" for name, backend in operators.items())
    assert log.count(f"operators: {said}\n") == 1
    assert "attention " in said
    assert "DONE val bpb" in log
    assert "DONE val bpb" in capfd.readouterr().err


def test_learns(results):
    train(results, results.config(steps=100))
    losses = [float(r["loss"]) for r in rows(results)]
    assert losses[-1] < 0.6 * losses[0]


def test_a_finished_run_is_not_trained_again(results, monkeypatch):
    config = results.config(**SHORT)
    first = train(results, config)
    (results.folder / "final_model.pt").unlink()
    (results.folder / "logs/training_metrics.csv").unlink()
    monkeypatch.setattr(loop, "training_step", None)
    assert train(results, config) == first
    assert int(rows(results)[-1]["step"]) == 20


def test_cosmetic_keys_do_not_make_another_run(results, monkeypatch):
    first = train(results, results.config(**SHORT))
    monkeypatch.setattr(loop, "training_step", None)
    shown = {"log_every": 7, "sample_prompt": "x", "keep": 5}
    assert train(results, results.config(**{**SHORT, **shown})) == first


def test_another_seed_or_rate_is_another_run(results):
    train(results, results.config(**SHORT))
    train(results, results.config(**SHORT, lr=0.01))
    train(results, results.config(seed=7, steps=5))
    assert len(list(results.folder.glob("checkpoints/*/"))) == 3
    made = read_manifest(results.folder / "final_model.pt")
    assert (made["seed"], made["config"]["train"]["seed"]) == (7, 7)
    assert made["counts"]["result"]["held_out_text"]


@pytest.mark.parametrize(
    "step", [1, 20, 37, 59], ids=["first", "evaluation", "middle", "last_but_one"]
)
def test_a_signal_saves_its_step_and_the_same_command_ends_with_the_same_bytes(
    make_results, monkeypatch, step
):
    uninterrupted, stopped = make_results("uninterrupted"), make_results("stopped")
    expected = train(uninterrupted, uninterrupted.config())
    config = stopped.config()
    stop_at(monkeypatch, step)
    with pytest.raises(Interrupted, match=f"saved step {step}; resume: the same command"):
        main(stopped.arguments(config))
    monkeypatch.undo()
    assert stopped.checkpoints()[-1].stem == f"step_{step:08d}"
    assert train(stopped, config) == expected
    for name in ("step", "loss", "grad_norm", "val_bpb"):
        assert [r[name] for r in rows(stopped)] == [r[name] for r in rows(uninterrupted)], name


@pytest.mark.parametrize("step", [20, 60], ids=["on_the_way", "the_last"])
def test_a_signal_in_evaluation_saves_too(make_results, monkeypatch, step):
    uninterrupted, stopped = make_results("uninterrupted"), make_results("stopped")
    expected, config = train(uninterrupted, uninterrupted.config()), stopped.config()
    validate = pretraining.Pretraining.validate

    def signalled(self, model, evaluated, *more):
        if evaluated == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(self, model, evaluated, *more)

    monkeypatch.setattr(pretraining.Pretraining, "validate", signalled)
    with pytest.raises(Interrupted, match=f"saved step {step}"):
        main(stopped.arguments(config))
    monkeypatch.undo()
    assert train(stopped, config) == expected
    assert [(r["step"], r["val_bpb"]) for r in rows(stopped) if r["val_bpb"]] == [
        (r["step"], r["val_bpb"]) for r in rows(uninterrupted) if r["val_bpb"]
    ]


def test_checkpoints_keep_the_keys_that_earlier_versions_wrote(results):
    train(results, results.config(steps=10))
    saved = torch.load(results.checkpoints()[-1], weights_only=True)
    assert list(saved) == [
        *("format", "version", "fingerprint", "step", "model", "optimizer", "rng", "threads"),
        *("skipped", "evaluated", "best", "elapsed", "last", "final"),
        *("record", "machine"),
    ]
    assert saved["best"].keys() == {"bpb", "step"}
    assert saved["elapsed"].keys() == {"seconds", "cpu_seconds"}
    assert saved["last"].keys() == {"loss", "grad_norm", "lr", "stop", "skipped"}
    assert saved["optimizer"].keys() == {"muon", "adamw"}


@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_newest_checkpoints_cost_steps_not_the_result(
    make_results, monkeypatch, damaged, capfd
):
    uninterrupted, hurt = make_results("uninterrupted"), make_results("hurt")
    expected, config = train(uninterrupted, uninterrupted.config()), hurt.config()
    stop_at(monkeypatch, 45)
    with pytest.raises(Interrupted):
        main(hurt.arguments(config))
    monkeypatch.undo()
    for path in hurt.checkpoints()[-damaged:]:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert train(hurt, config) == expected
    assert capfd.readouterr().err.count("damaged (SHA-256") == damaged


SHORT = {"steps": 20, "eval_every": 10, "save_every": 5, "log_every": 2}


def stopped_at_12(results, monkeypatch, config):
    """A run that was stopped; gives its folder."""
    stop_at(monkeypatch, 12)
    with pytest.raises(Interrupted):
        main(results.arguments(config))
    monkeypatch.undo()
    return results.checkpoints()[0].parent


@pytest.mark.parametrize("what", ["damaged files", "an earlier version's checkpoint"])
def test_the_record_of_a_run_is_whole_in_the_end(make_results, monkeypatch, what):
    """Checkpoints hold it; those of earlier versions left it in files, of which a damaged row is
    lost.
    """
    whole, hurt = make_results("whole"), make_results("hurt")
    expected, config = train(whole, whole.config(**SHORT)), hurt.config(**SHORT)
    run = stopped_at_12(hurt, monkeypatch, config)
    metrics, samples = run / "training_metrics.csv", run / "samples.jsonl"
    if what == "damaged files":
        metrics.write_bytes(metrics.read_bytes()[:200] + b'\xff"\0')
        samples.unlink()
        os.mkfifo(samples)
    else:
        for path in hurt.checkpoints():
            saved = torch.load(path, weights_only=True)
            torch.save({k: v for k, v in saved.items() if k not in ("record", "machine")}, path)
            checkpoint.hash_path(path).write_text(f"{sha256_file(path)}  {path.name}\n")
        metrics.write_bytes(metrics.read_bytes() + b"12,\xff\n")

    assert train(hurt, config) == expected
    for name in ("step", "loss", "val_bpb"):
        assert [r[name] for r in rows(hurt)] == [r[name] for r in rows(whole)], name
    written = [results.folder / "logs/samples.jsonl" for results in (hurt, whole)]
    assert written[0].read_bytes() == written[1].read_bytes()


def test_what_another_start_deleted_of_the_logs_is_there_in_the_end(results, monkeypatch):
    """Snakemake deletes the outputs of a rule before it starts it again, though the trainer that it
    started before may still be running.
    """
    one_step = loop.training_step

    def deleted(done, *more):
        if done == 11:
            (results.folder / "logs/training_metrics.csv").unlink()
        return one_step(done, *more)

    monkeypatch.setattr(loop, "training_step", deleted)
    train(results, results.config(**SHORT))
    assert [int(r["step"]) for r in rows(results)] == [*range(2, 21, 2)]


def test_checkpoints_that_are_gone_are_no_fresh_start(results, monkeypatch):
    config = results.config(**SHORT)
    stopped_at_12(results, monkeypatch, config)
    for path in results.folder.glob("checkpoints/*/*.pt*"):
        path.unlink()
    with pytest.raises(UserError, match="its checkpoints are gone; bring them back"):
        main(results.arguments(config))


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(
    results, monkeypatch, capfd
):
    config = results.config(**SHORT)
    monkeypatch.setattr(checkpoint, "save", None)
    with pytest.raises(TypeError):
        main(results.arguments(config))
    monkeypatch.undo()
    train(results, config)
    assert "stopped near step 4, before its first checkpoint" in capfd.readouterr().err


def test_a_resume_in_another_precision_is_said_or_refused(results, monkeypatch, capfd):
    short = {**SHORT, "precision": "auto"}
    monkeypatch.setattr(device, "multiplies_bf16", lambda where: True)
    stopped_at_12(results, monkeypatch, results.config(**short))
    monkeypatch.setattr(device, "multiplies_bf16", lambda where: False)
    with pytest.raises(UserError, match=r"precision bf16 → fp32[,;].*on_other_machine"):
        main(results.arguments(results.config(**short, on_other_machine="error")))
    train(results, results.config(**short))
    assert "precision bf16 → fp32" in capfd.readouterr().err


def test_abandoned_temporary_files_go_under_the_lock(results, capfd):
    config = results.config(steps=10)
    for run in ("one", "another"):
        folder = results.folder / "checkpoints" / run
        folder.mkdir(parents=True)
        (folder / ".step_00000010.pt.1.tmp").write_bytes(bytes(3_000_000))
    train(results, config)
    assert not list(results.folder.glob("checkpoints/*/.*.tmp"))
    assert "6.0 MB of abandoned temporary files removed" in capfd.readouterr().err


def test_all_checkpoints_damaged_stops_and_changes_nothing(results, monkeypatch):
    config = results.config()
    stop_at(monkeypatch, 45)
    with pytest.raises(Interrupted):
        main(results.arguments(config))
    monkeypatch.undo()
    for path in results.checkpoints():
        path.write_bytes(b"")
    before = [(p.name, p.stat().st_size) for p in results.checkpoints()]
    with pytest.raises(UserError, match="none of its 4 checkpoints is sound"):
        main(results.arguments(config))
    assert [(p.name, p.stat().st_size) for p in results.checkpoints()] == before
    assert not (results.folder / "final_model.pt").exists()


def stop_at(monkeypatch, step):
    """SIGTERM at the beginning of ``step`` (from 1)."""
    one_step = loop.training_step

    def signalled(done, *more):
        if done == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_step(done, *more)

    monkeypatch.setattr(loop, "training_step", signalled)


@pytest.mark.parametrize("on_nan", ["error", "skip"])
def test_a_loss_that_is_nan(results, monkeypatch, on_nan, capfd):
    forward, calls = pretraining.Decoder.forward, []

    def poisoned(self, x, start=None, y=None, *more):
        calls.append(1)
        out = forward(self, x, start, y, *more)
        return out * float("nan") if y is not None and len(calls) == 9 else out  # in the fifth step

    monkeypatch.setattr(pretraining.Decoder, "forward", poisoned)
    config = results.config(on_nan=on_nan)
    if on_nan == "error":
        with pytest.raises(UserError, match="step 5: loss or gradient is NaN or infinite"):
            main(results.arguments(config))
        return
    train(results, config)
    assert "step 5: loss or gradient is NaN or infinite; no update" in capfd.readouterr().err
    weights = load_model(results.folder / "final_model.pt")[0].state_dict().values()
    assert all(torch.isfinite(w).all() for w in weights)


def test_another_tokenizer_is_refused(results):
    from snakelm.tokenizer import EOT, Tokenizer

    Tokenizer({bytes([i]): i for i in range(256)}, "cl100k", {EOT: 256}).save(
        results.folder / "tokenizer"
    )
    with pytest.raises(UserError, match="tokenizer"):
        main(results.arguments(results.config()))


def test_micro_batches_change_the_way_not_the_goal(make_results):
    a, b = make_results("a"), make_results("b")
    train(a, a.config(**SHORT, micro_batch=8))
    train(b, b.config(**SHORT, micro_batch=3))
    for x, y in zip(rows(a), rows(b), strict=True):
        assert float(x["loss"]) == pytest.approx(float(y["loss"]), rel=1e-2)


def test_a_start_that_does_not_fit_is_refused(results):
    config = results.config(start="bigrams")
    config.write_text(config.read_text().replace("model:\n", "model:\n  embedding_norm: false\n"))
    with pytest.raises(UserError, match=r"train\.start"):
        main(results.arguments(config))


@pytest.mark.parametrize(("warmup", "said"), [(100, True), (2, False)])
def test_rates_that_never_come_to_their_peak_are_said(results, capfd, warmup, said):
    train(results, results.config(steps=4, warmup=warmup))
    line = "warning: train.warmup: 100 of 4 steps, so the learning rates come to 2% of their peaks"
    assert (line in " ".join(capfd.readouterr().err.split())) == said
