"""Learning from preferences as a user runs it: what it leaves and says, that it resumes to the same
bytes, and what it refuses.
"""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from snakelm.config import Model, from_mapping
from snakelm.data.conversations.prepare_preferences import prepare_preferences
from snakelm.errors import Interrupted, UserError
from snakelm.files import sha256_file
from snakelm.log import Log
from snakelm.model import Decoder, load_model, save_model
from snakelm.tokenizer import EOT, Tokenizer
from snakelm.tokenizer.special import CHAT
from snakelm.training import loop
from snakelm.training.preference_scores import FILE

from .conftest import TINY, Results

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/training/train_preferences.py"
KEYS = {
    "lr": 0.02,
    "embedding_lr": 0.02,
    "head_lr": 0.01,
    "epochs": 4.0,
    "batch_rows": 4,
    "micro_batch": 2,
    "eval_every": 6,
    "save_every": 5,
    "log_every": 3,
    "val_fraction": 0.15,
}


def load_main():
    spec = importlib.util.spec_from_file_location("train_preferences_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


main = load_main()


@pytest.fixture
def make(tmp_path):
    """Makes a results folder with packed preferences and a tuned model; the same content each
    time.
    """

    def make(name, loss="dpo", chat=True):
        folder = tmp_path / name
        special = {name: 256 + i for i, name in enumerate((EOT, *CHAT))}
        tokenizer = Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", special)
        tokenizer.save(folder / "tokenizer")
        path = tmp_path / "pairs.jsonl"  # its name is in the packs' settings
        rows = [{"prompt": f"{i}?", "chosen": f"{i}!", "rejected": f"{i}."} for i in range(40)]
        rows += [
            {"prompt": f"{i}{i}?", "chosen": f"{i}!!!!", "rejected": f"{i}........"}
            for i in range(10, 16)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        config = from_mapping({**TINY, "preferences": {"sources": [{"path": str(path)}], **KEYS}})
        config = config.model_copy(
            update={"preferences": config.preferences.model_copy(update={"loss": loss})}
        )
        with Log("test") as log:
            prepare_preferences(config, tokenizer, folder / "data/processed", threads=1, log=log)
        model = Decoder(Model(**TINY["model"]), tokenizer.vocab_size).initialize(
            torch.Generator().manual_seed(0)
        )
        save_model(
            folder / "sft_model.pt",
            model,
            tokenizer_sha256=tokenizer.sha256,
            step=0,
            fingerprint="tuned",
            chat=chat,
        )
        return Results(folder, SCRIPT, "preference_step")

    return make


def config_of(results, train=None, **keys):
    path = results.folder / f"config-{len(list(results.folder.glob('config-*')))}.yaml"
    train = {**TINY["train"], **(train or {})}
    path.write_text(yaml.safe_dump({**TINY, "train": train, "preferences": {**KEYS, **keys}}))
    return path


def learn(results, config, *more):
    assert main(results.arguments(config, *more)) == 0
    return sha256_file(results.folder / "preference_model.pt")


def rows(results):
    path = results.folder / "logs/preference_metrics.csv"
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_it_learns_which_answers_are_wanted(make, loss, capfd):
    results = make("results", loss)
    before = sha256_file(results.folder / "sft_model.pt")
    learn(results, config_of(results, loss=loss))
    first, *_, last = rows(results)
    start = {"dpo": 0.693147, "kto": 0.5}[loss]
    assert float(first["val_loss"]) == pytest.approx(start, abs=1e-6)
    assert float(first["val_rewards_chosen"]) == 0
    assert float(last["val_loss"]) < 0.8 * start
    assert float(last["val_rewards_margins"]) > 0
    assert float(last["val_rewards_accuracies"]) == 1
    assert float(last["rewards_accuracies"]) == 1
    assert bool(last["val_logps_accuracies"]) == (loss == "dpo")

    model, record = load_model(results.folder / "preference_model.pt")
    assert record["chat"] is True
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert sha256_file(results.folder / "sft_model.pt") == before
    manifest = json.loads((results.folder / "preference_model.pt.manifest.json").read_text())
    assert before in [one["sha256"] for one in manifest["inputs"]]
    assert manifest["counts"]["result"]["val_rewards_accuracies"] == 1
    samples = (results.folder / "logs/preference_samples.jsonl").read_text().splitlines()
    assert all(json.loads(one)["expected"].endswith("!") for one in samples)
    assert "DONE held-out 100.0% in order" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("loss", "keys"),
    [
        ("kto", {}),
        pytest.param("dpo", {}, marks=pytest.mark.long),
        pytest.param("dpo", {"lora_rank": 2}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_stopped_and_killed_it_ends_with_the_same_bytes(make, monkeypatch, loss, keys):
    """Stopped by a signal after its first step and in the middle; died between two checkpoints."""
    uninterrupted, stopped = make("uninterrupted", loss), make("stopped", loss)
    expected = learn(uninterrupted, config_of(uninterrupted, loss=loss, **keys))
    config, one_step = config_of(stopped, loss=loss, **keys), loop.training_step

    for step, ends in ((1, Interrupted), (7, Interrupted), (13, RuntimeError)):

        def ended(done, *more, last=step - 1, ends=ends):
            if done == last and ends is Interrupted:
                os.kill(os.getpid(), signal.SIGTERM)
            elif done == last:
                raise RuntimeError("the machine went away")
            return one_step(done, *more)

        monkeypatch.setattr(loop, "training_step", ended)
        with pytest.raises(ends):
            main(stopped.arguments(config))

    monkeypatch.undo()
    assert learn(stopped, config) == expected
    for one, other in zip(rows(stopped), rows(uninterrupted), strict=True):
        for name in set(one) - {"seconds", "cpu_seconds", "tokens_per_second", "mfu"}:
            assert one[name] == other[name], (one["step"], name)


def test_what_it_is_held_to_is_scored_once_and_damage_is_noticed(make, monkeypatch):
    results = make("results")
    config, one_step, tried = config_of(results), loop.training_step, []

    def dies(*given):
        tried.append(given)
        if len(tried) in (1, 2):
            raise RuntimeError("the machine went away")
        return one_step(*given)

    monkeypatch.setattr(loop, "training_step", dies)
    with pytest.raises(RuntimeError):
        main(results.arguments(config))
    [scores] = results.folder.glob(f"checkpoints/*/{FILE}")
    written, made = scores.read_bytes(), scores.stat().st_mtime_ns
    with pytest.raises(RuntimeError):
        main(results.arguments(config))
    assert scores.stat().st_mtime_ns == made

    scores.write_bytes(written[:-4] + b"\0\1\2\3")
    learn(results, config)
    assert scores.read_bytes() == written


@pytest.mark.long
def test_two_processes_write_the_bytes_that_one_writes(make):
    one, two = make("one", "kto"), make("two", "kto")
    keys = {"loss": "kto", "epochs": 1.0, "train": {"reproducible": 2}}
    expected = learn(one, config_of(one, **keys))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(SCRIPT), *two.arguments(config_of(two, **keys))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert sha256_file(two.folder / "preference_model.pt") == expected


def test_refused_before_anything_is_trained(make):
    untuned = make("untuned", chat=False)
    with pytest.raises(UserError, match="never tuned on conversations"):
        main(untuned.arguments(config_of(untuned)))
    pairs = make("pairs")
    with pytest.raises(UserError, match=r"pairs, which preferences\.loss: kto doesn't take"):
        main(pairs.arguments(config_of(pairs, loss="kto")))
    (pairs.folder / "sft_model.pt").unlink()
    with pytest.raises(UserError, match=r"sft_model\.pt"):
        main(pairs.arguments(config_of(pairs)))
    assert not list(pairs.folder.glob("checkpoints/*/*.pt"))
