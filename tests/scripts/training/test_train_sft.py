"""Tuning as a user runs it: what it leaves and says, that it resumes to the same bytes, and what
it refuses.
"""

import csv
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snakelm.errors import Interrupted, UserError
from snakelm.files import sha256_file
from snakelm.model import load_model
from snakelm.model.export import export
from snakelm.tokenizer import EOT, Tokenizer
from snakelm.tokenizer.special import CHAT
from snakelm.training import finetuning, loop
from tests.scripts.training.conftest import write_text
from tests.scripts.training.test_train import main as pretrain

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/training/train_sft.py"


def load_main():
    spec = importlib.util.spec_from_file_location("train_sft_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


main = load_main()


def tune(results, config, *more):
    assert main(results.arguments(config, *more)) == 0
    return sha256_file(results.folder / "sft_model.pt")


def finish(results, config):
    process = results.start(config)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return sha256_file(results.folder / "sft_model.pt"), said


def rows(results):
    with open(results.folder / "logs/sft_metrics.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_leaves_model_manifest_metrics_samples_and_log(sft_results, capfd):
    base = sha256_file(sft_results.folder / "final_model.pt")
    tune(sft_results, sft_results.sft_config())
    model, record = load_model(sft_results.folder / "sft_model.pt")
    assert record["chat"] is True
    steps = record["step"]
    assert sha256_file(sft_results.folder / "final_model.pt") == base
    assert all(torch.isfinite(p).all() for p in model.parameters())
    manifest = json.loads((sft_results.folder / "sft_model.pt.manifest.json").read_text())
    assert (
        manifest["counts"]["result"]["val_loss"]
        < 0.6 * manifest["counts"]["result"]["val_loss_before"]
    )
    assert base in [i["sha256"] for i in manifest["inputs"]]
    evaluated = [int(r["step"]) for r in rows(sft_results) if r["val_loss"]]
    assert evaluated == [*range(0, steps, 20), *([steps] if steps % 20 else [])]
    assert rows(sft_results)[0]["loss"] == ""
    samples = [
        json.loads(s)
        for s in (sft_results.folder / "logs/sft_samples.jsonl").read_text().splitlines()
    ]
    assert {s["step"] for s in samples} == set(evaluated)
    assert {s["prompt"] for s in samples if s["step"] == 0} == {
        s["prompt"] for s in samples if s["step"] == steps
    }
    assert all(
        s["prompt"].endswith("?<|end|><|assistant|>") and s["expected"].endswith(".")
        for s in samples
    )
    assert list((sft_results.folder / "logs/runs").rglob("events.out.tfevents.*"))
    log = (sft_results.folder / "logs/sft_training.log").read_text()
    for part in (
        "PREFLIGHT",
        "60 conversations in",
        "before the first step",
        "DONE held-out answers",
    ):
        assert part in log
    assert "DONE held-out answers" in capfd.readouterr().err


def test_a_finished_run_is_not_trained_again(sft_results, monkeypatch):
    config = sft_results.sft_config()
    first = tune(sft_results, config)
    (sft_results.folder / "sft_model.pt").unlink()
    (sft_results.folder / "logs/sft_metrics.csv").unlink()
    monkeypatch.setattr(loop, "training_step", None)
    assert tune(sft_results, sft_results.sft_config(log_every=7, keep=5)) == first
    assert tune(sft_results, sft_results.sft_config(train={"steps": 77, "lr": 0.3})) == first, (
        "pretraining's keys"
    )
    result = json.loads((sft_results.folder / "sft_model.pt.manifest.json").read_text())["counts"][
        "result"
    ]
    assert result["val_loss_before"] > result["val_loss"]


@pytest.mark.parametrize(
    "keys", [{}, {"lora_rank": 2}, {"mix": 0.4}], ids=["full", "lora", "mixed"]
)
def test_signals_save_and_the_same_command_ends_with_the_same_bytes(
    make_sft_results, monkeypatch, keys
):
    """Stopped after its first step, at an evaluation, and between two."""
    uninterrupted, stopped = make_sft_results("uninterrupted"), make_sft_results("stopped")
    expected = tune(uninterrupted, uninterrupted.sft_config(**keys))
    config, one_step = stopped.sft_config(**keys), loop.training_step

    for step in (1, 20, 37):

        def signalled(done, *more, last=step - 1):
            if done == last:
                os.kill(os.getpid(), signal.SIGTERM)
            return one_step(done, *more)

        monkeypatch.setattr(loop, "training_step", signalled)
        with pytest.raises(Interrupted, match=f"saved step {step}; resume: the same command"):
            main(stopped.arguments(config))
        assert stopped.checkpoints()[-1].stem == f"sft_step_{step:08d}"

    monkeypatch.undo()
    assert tune(stopped, config) == expected
    for name in ("step", "tokens", "loss", "grad_norm", "val_loss"):
        assert [r[name] for r in rows(stopped)] == [r[name] for r in rows(uninterrupted)], name


def test_a_signal_before_the_first_step_says_that_nothing_is_saved(sft_results, monkeypatch):
    monkeypatch.setattr(finetuning, "answer_loss", lambda *a, **k: None)
    with pytest.raises(Interrupted, match="before the first step"):
        main(sft_results.arguments(sft_results.sft_config()))
    assert not sft_results.checkpoints()


def test_a_run_that_died_before_its_first_checkpoint_leaves_no_row_twice(sft_results, monkeypatch):
    def dies(*arguments):
        raise RuntimeError("the machine went away")

    monkeypatch.setattr(loop, "training_step", dies)
    with pytest.raises(RuntimeError):
        main(sft_results.arguments(sft_results.sft_config()))
    monkeypatch.undo()
    assert [r["step"] for r in rows(sft_results)] == ["0"]
    tune(sft_results, sft_results.sft_config())
    assert [r["step"] for r in rows(sft_results)].count("0") == 1
    samples = (sft_results.folder / "logs/sft_samples.jsonl").read_text().splitlines()
    assert [json.loads(s)["step"] for s in samples].count(0) == 3


def test_killed_and_run_again_ends_with_the_same_bytes(make_sft_results):
    uninterrupted, killed = make_sft_results("uninterrupted"), make_sft_results("killed")
    longer = {"epochs": 40.0, "save_every": 5, "mix": 0.3}
    expected = tune(uninterrupted, uninterrupted.sft_config(**longer))
    config = killed.sft_config(**longer)
    process = killed.start(config)
    killed.wait_for_step(process, 20)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    got, said = finish(killed, config)
    assert "resumes after step" in said
    assert got == expected
    assert [r["loss"] for r in rows(killed)] == [r["loss"] for r in rows(uninterrupted)]


def test_two_processes_write_the_bytes_that_one_writes(make_sft_results):
    """Packs, and text beside them, with sums in an order that is fixed."""
    one, two = make_sft_results("one"), make_sft_results("two")
    keys = {"batch_rows": 5, "mix": 0.4, "train": {"reproducible": 2}}
    expected = tune(one, one.sft_config(**keys))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(SCRIPT), *two.arguments(two.sft_config(**keys))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("DONE") == 1
    assert sha256_file(two.folder / "sft_model.pt") == expected
    for a, b in zip(rows(one), rows(two), strict=True):
        assert (a["loss"], a["val_loss"]) == (b["loss"], b["val_loss"]), a["step"]


def result_of(results):
    manifest = json.loads((results.folder / "sft_model.pt.manifest.json").read_text())
    return manifest["counts"]["result"], [Path(one["path"]).name for one in manifest["inputs"]]


def test_text_beside_conversations_is_said_and_an_input(sft_results, capfd):
    tune(sft_results, sft_results.sft_config(mix=0.4))
    assert re.search(
        r"tokens of pretraining text beside them, (39|40)\.\d%", capfd.readouterr().err
    )
    result, inputs = result_of(sft_results)
    assert "train.bin" in inputs
    assert result["val_loss"] < result["val_loss_before"]


def test_without_text_in_tuning_train_bin_is_not_read(sft_results, capfd):
    """Neither where it is missing nor where it is damaged; a model of one's own gets none, and that
    is said.
    """
    given, text = sft_results.folder / "given.pt", sft_results.folder / "data/processed/train.bin"
    shutil.copy(sft_results.folder / "final_model.pt", given)
    text.unlink()
    first = tune(sft_results, sft_results.sft_config(base=str(given), mix=None))
    assert "no pretraining text beside them" in capfd.readouterr().err
    assert "train.bin" not in result_of(sft_results)[1]

    text.write_bytes(b"damaged")
    assert tune(sft_results, sft_results.sft_config()) == first


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), r"train\.bin: no such file.*sft\.mix: 0\.4.*snakemake"),
        (lambda path: path.write_bytes(b"no tokens"), r"train\.bin"),
    ],
    ids=["missing", "damaged"],
)
def test_text_that_is_asked_for_and_not_there_is_an_error(sft_results, damage, said):
    damage(sft_results.folder / "data/processed/train.bin")
    with pytest.raises(UserError, match=said):
        main(sft_results.arguments(sft_results.sft_config(mix=None)))
    assert not (sft_results.folder / "sft_model.pt").exists()


def test_text_of_another_tokenizer_is_refused(sft_results, make_results):
    other = make_results("other").folder / "data/processed"
    for name in ("train.bin", "train.idx"):
        shutil.copy(other / name, sft_results.folder / "data/processed" / name)
    with pytest.raises(UserError, match=r"train\.bin: .*tokenizer"):
        main(sft_results.arguments(sft_results.sft_config(mix=0.5)))


def test_lora_gives_a_plain_model_and_leaves_the_tables_alone(sft_results):
    tune(sft_results, sft_results.sft_config(lora_rank=2, lora_lr=0.02))
    base, tuned = (
        load_model(sft_results.folder / name)[0] for name in ("final_model.pt", "sft_model.pt")
    )
    assert dict(tuned.named_parameters()).keys() == dict(base.named_parameters()).keys()
    assert torch.equal(tuned.embedding, base.embedding)
    assert torch.equal(tuned.norm, base.norm)
    moved = (tuned.layers[0].mlp.up - base.layers[0].mlp.up).detach()
    assert torch.linalg.matrix_rank(moved, rtol=1e-4) == 2
    result = json.loads((sft_results.folder / "sft_model.pt.manifest.json").read_text())["counts"][
        "result"
    ]
    assert result["val_loss"] < result["val_loss_before"]


UNREAD = {
    "weight decay with low-rank updates": (
        {"lora_rank": 2, "weight_decay": 0.5},
        ["low-rank updates of rank 2 learn at sft.lora_lr 0.02", "sft.weight_decay 0.5: of no eff"],
    ),
    "low-rank keys without a rank": (
        {"lora_alpha": 4.0, "lora_lr": 0.1},
        ["sft.lora_alpha 4: of no effect", "sft.lora_lr 0.1: of no effect"],
    ),
    "nothing to say": ({}, []),
}


@pytest.mark.parametrize("case", UNREAD)
def test_keys_that_low_rank_updates_do_not_read_are_said(sft_results, capfd, case):
    keys, lines = UNREAD[case]
    tune(sft_results, sft_results.sft_config(**keys))
    said = capfd.readouterr().err
    assert [line in said for line in lines] == [True] * len(lines)
    assert said.count("of no effect") == sum("of no eff" in line for line in lines)


def test_tunes_on_from_a_tuned_model_or_an_exported_folder(sft_results):
    tune(sft_results, sft_results.sft_config())
    exported = sft_results.folder / "models/final"
    exported.mkdir(parents=True)
    shutil.copy(sft_results.folder / "sft_model.pt", exported / "model.pt")
    before = json.loads((sft_results.folder / "sft_model.pt.manifest.json").read_text())["counts"][
        "result"
    ]["val_loss"]
    tune(sft_results, sft_results.sft_config(base=str(exported)))
    again = json.loads((sft_results.folder / "sft_model.pt.manifest.json").read_text())["counts"][
        "result"
    ]
    assert again["val_loss_before"] == pytest.approx(before, rel=1e-5), "its chat tokens are kept"
    assert len(list(sft_results.folder.glob("checkpoints/*/"))) == 2


def test_tunes_on_from_a_folder_of_safetensors(sft_results):
    tune(sft_results, sft_results.sft_config())
    before = json.loads((sft_results.folder / "sft_model.pt.manifest.json").read_text())["counts"][
        "result"
    ]["val_loss"]
    tokenizer, exported = (
        Tokenizer.load(sft_results.folder / "tokenizer"),
        sft_results.folder / "models/final",
    )
    export(sft_results.folder / "sft_model.pt", tokenizer, exported, "")
    (exported / "model.pt").unlink()
    tune(sft_results, sft_results.sft_config(base=str(exported)))
    manifest = json.loads((sft_results.folder / "sft_model.pt.manifest.json").read_text())
    assert manifest["counts"]["result"]["val_loss_before"] == pytest.approx(before, rel=1e-3), (
        "its chat tokens are kept"
    )
    names = [Path(one["path"]).name for one in manifest["inputs"]]
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(names)


@pytest.mark.parametrize(
    "forms", [["export"], ["export", "file"], ["export", "export"]], ids=" of ".join
)
def test_a_base_that_was_tuned_keeps_its_chat_tokens_through_pretraining(
    make_sft_results, tmp_path, forms
):
    """train.base goes on with plain text, here by next to nothing; tuning after that finds the
    answers as the earlier one left them.
    """
    run = make_sft_results("tuned")
    tune(run, run.sft_config())
    left, made = result_of(run)[0]["val_loss"], run.folder / "sft_model.pt"
    tokenizer = Tokenizer.load(run.folder / "tokenizer")
    for number, form in enumerate(forms):
        base = made
        if form == "export":
            base = tmp_path / f"export-{number}"
            export(made, tokenizer, base, "")
            (base / "model.pt").unlink()
        run = make_sft_results(f"run-{number}")
        go_on(run, base)
        made = run.folder / "final_model.pt"

    assert not load_model(made)[1].get("chat"), "a base model again, which doesn't answer"
    tune(run, run.sft_config())
    assert result_of(run)[0]["val_loss_before"] == pytest.approx(left, rel=1e-3)


def go_on(results, base):
    """Two steps of pretraining from ``base``, at rates that leave it as it is."""
    processed = results.folder / "data/processed"
    tokenizer = Tokenizer.load(results.folder / "tokenizer")
    write_text(processed / "val.bin", 20, tokenizer, np.random.default_rng(1))
    np.save(processed / "val_overlap.npy", np.zeros(20))
    rates = dict.fromkeys(["lr", "embedding_lr", "head_lr", "scalar_lr"], 1e-9)
    config = results.config(steps=2, sampled_softmax="off", base=str(base), **rates)
    assert pretrain(results.arguments(config)) == 0


def test_the_end_of_an_answer_starts_as_the_end_of_a_text(sft_results):
    base = load_model(sft_results.folder / "final_model.pt")[0]
    tokenizer = Tokenizer.load(sft_results.folder / "tokenizer")
    finetuning.start_chat_rows(base, tokenizer)
    assert torch.equal(base.head[tokenizer.special_tokens["<|end|>"]], base.head[tokenizer.eot])


def test_a_base_of_another_tokenizer_is_refused(sft_results):
    special = {name: 256 + i for i, name in enumerate((EOT, *CHAT))}
    other = Tokenizer({bytes([i]): i for i in range(256)}, "cl100k", special)
    record = torch.load(sft_results.folder / "final_model.pt", weights_only=True)
    record["tokenizer"]["sha256"] = other.sha256
    torch.save(record, sft_results.folder / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt: trained with tokenizer .* sft\.base"):
        main(
            sft_results.arguments(sft_results.sft_config(base=str(sft_results.folder / "other.pt")))
        )
    assert not (sft_results.folder / "sft_model.pt").exists()


def test_packs_of_another_tokenizer_are_refused(sft_results):
    special = {name: 256 + i for i, name in enumerate((EOT, *CHAT))}
    Tokenizer({bytes([i]): i for i in range(256)}, "cl100k", special).save(
        sft_results.folder / "tokenizer"
    )
    with pytest.raises(UserError, match="tokenizer"):
        main(sft_results.arguments(sft_results.sft_config()))


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "missing"), (b"", "can't be read"), (b"not a model", "refused|can't be read")],
    ids=["missing", "empty", "text"],
)
def test_a_base_that_is_no_model_is_refused(sft_results, content, said):
    path = sft_results.folder / "final_model.pt"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        main(sft_results.arguments(sft_results.sft_config()))


def test_packs_longer_than_the_base_s_context_are_refused(sft_results):
    record = torch.load(sft_results.folder / "final_model.pt", weights_only=True)
    record["model"]["context"] = 16
    torch.save(record, sft_results.folder / "final_model.pt")
    with pytest.raises(UserError, match="looks back over 16"):
        main(sft_results.arguments(sft_results.sft_config()))
