"""A results folder small enough to train on in a second, and the trainer as a process that can be
killed.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from snakelm.config import Model
from snakelm.data.bins import BinWriter, Meta
from snakelm.data.conversations.chat_template import render_batch
from snakelm.data.packs import PackWriter, best_fit
from snakelm.model import Decoder, save_model
from snakelm.tokenizer import EOT, Tokenizer
from snakelm.tokenizer.special import CHAT

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts/training"
SCRIPT, SFT_SCRIPT = SCRIPTS / "train.py", SCRIPTS / "train_sft.py"
SENTENCE = "the function returns a list of values or raises an error when there is none"
TINY = {
    "model": {
        "layers": 1,
        "width": 32,
        "heads": 2,
        "kv_heads": 1,
        "head_dim": 16,
        "hidden": 64,
        "context": 32,
    },
    "train": {
        "steps": 60,
        "batch_tokens": 256,
        "micro_batch": 4,
        "warmup": 3,
        "eval_every": 20,
        "save_every": 10,
        "log_every": 5,
        "sample_tokens": 4,
        "eval_tokens": 400,
        "precision": "fp32",
        # 64 of the 257 tokens: whatever interrupts a run interrupts one that draws.
        "sampled_softmax": "on",
        "sampled_common": 16,
        "sampled_random": 8,
    },
}
# Over the tiny keys: what holds a model back from learning its text by heart.
EVERYTHING = {
    "regime": "repeated",
    "dropout": 0.2,
    "weight_decay": 0.1,
    "weight_decay_schedule": [1.0, 0.1, 1.2],
    "average": 0.5,
    "keep_best": True,
}
TINY_SFT = {  # rates for the random base model
    "lr": 0.03,
    "embedding_lr": 0.2,
    "head_lr": 0.02,
    "epochs": 10.0,
    "batch_rows": 4,
    "micro_batch": 4,
    "eval_every": 20,
    "save_every": 10,
    "log_every": 5,
    "mix": 0.0,
}


@dataclass
class Results:
    """A results folder with everything that training reads."""

    folder: Path
    script: Path = SCRIPT
    stem: str = "step"  # of checkpoints

    def config(self, **train) -> Path:
        """A config file with ``train`` keys over the tiny ones."""
        return self._write({**TINY, "train": {**TINY["train"], **train}})

    def sft_config(self, train=None, **sft) -> Path:
        """A config file with ``sft`` keys over the tiny ones, and ``train``, a mapping of those."""
        return self._write(
            {**TINY, "train": {**TINY["train"], **(train or {})}, "sft": {**TINY_SFT, **sft}}
        )

    def _write(self, values) -> Path:
        path = self.folder / f"config-{len(list(self.folder.glob('config-*')))}.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    def arguments(self, config: Path, *more: str) -> list[str]:
        """The command line."""
        return ["--config", str(config), "--results", str(self.folder), "--threads", "1", *more]

    def start(self, config: Path, **environment: str) -> subprocess.Popen:
        """The trainer as a process of its own."""
        command = [sys.executable, str(self.script), *self.arguments(config)]
        return subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "200", **environment},
        )

    def checkpoints(self) -> list[Path]:
        """Checkpoints of all runs, oldest step first."""
        return sorted(self.folder.glob(f"checkpoints/*/{self.stem}_*.pt"))

    def wait_for_step(self, process: subprocess.Popen, step: int, seconds: float = 120.0) -> None:
        """Until a checkpoint of ``step`` or later is there; fails when the process ends before."""
        deadline = time.monotonic() + seconds
        while not any(int(p.stem.rpartition("_")[2]) >= step for p in self.checkpoints()):
            assert process.poll() is None, f"ended before step {step}: {process.stderr.read()}"
            assert time.monotonic() < deadline, f"no checkpoint of step {step}"
            time.sleep(0.005)


def make_training_results(folder: Path) -> Results:
    """A results folder to train in; the same content each time."""
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", {EOT: 256})
    tokenizer.save(folder / "tokenizer")
    generator = np.random.default_rng(0)
    for split, count in (("train", 300), ("val", 20)):
        write_text(folder / f"data/processed/{split}.bin", count, tokenizer, generator)
    np.save(folder / "data/processed/val_overlap.npy", np.linspace(0, 0.5, 20))
    return Results(folder)


def write_text(
    path: Path, count: int, tokenizer: Tokenizer, generator: np.random.Generator
) -> None:
    """Documents of words of the sentence."""
    meta = Meta("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256)
    with BinWriter(path, meta) as writer:
        for i in range(count):
            text = " ".join(generator.choice(SENTENCE.split(), generator.integers(3, 20)))
            ids = np.array([tokenizer.eot, *tokenizer.encode_ordinary(text)])
            writer.append(ids, np.array([ids.size]), np.array([i], np.uint64), len(text))


@pytest.fixture
def make_results(tmp_path):
    """Makes a results folder; the same content each time."""
    return lambda name="results": make_training_results(tmp_path / name)


@pytest.fixture
def results(make_results):
    return make_results()


@pytest.fixture
def make_sft_results(tmp_path):
    """Makes a results folder to tune in: packed conversations, text and a base model; the same
    content each time.
    """

    def make(name: str = "results") -> Results:
        folder = tmp_path / name
        special = {name: 256 + i for i, name in enumerate((EOT, *CHAT))}
        tokenizer = Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", special)
        tokenizer.save(folder / "tokenizer")
        for split, first, count in (("train", 0, 60), ("val", 60, 6)):
            said = [(f"{i * 7 % 60}?", f"{i * 7 % 60 + 1}.") for i in range(first, first + count)]
            write_packs(folder / f"data/processed/{split}_sft_packed.bin", said, tokenizer)
        generator = np.random.default_rng(0)
        write_text(folder / "data/processed/train.bin", 40, tokenizer, generator)
        base = Decoder(Model(**TINY["model"]), tokenizer.vocab_size).initialize(
            torch.Generator().manual_seed(0)
        )
        save_model(
            folder / "final_model.pt",
            base,
            tokenizer_sha256=tokenizer.sha256,
            step=0,
            fingerprint="base",
        )
        return Results(folder, SFT_SCRIPT, "sft_step")

    return make


def write_packs(path: Path, said: list[tuple[str, str]], tokenizer: Tokenizer) -> None:
    """Questions and answers in packs of the tiny context."""
    talks = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in said]
    ids, mask, starts = render_batch(talks, tokenizer)
    order, bounds = best_fit(np.diff(starts), TINY["model"]["context"])
    meta = Meta("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256)
    with PackWriter(path, meta, TINY["model"]["context"], bounds) as writer:
        for i in order:
            own = slice(starts[i], starts[i + 1])
            writer.append_masked(
                ids[own], mask[own], np.diff(starts[i : i + 2]), np.array([i], np.uint64), 1
            )


@pytest.fixture
def sft_results(make_sft_results):
    return make_sft_results()
