"""A results folder small enough to train on in a second, and the trainer as a process that can be killed."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from snakelm.data.bins import BinWriter, Meta
from snakelm.tokenizer import EOT, Tokenizer

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/training/train.py"
SENTENCE = "the function returns a list of values or raises an error when there is none"
TINY = {
    "model": {"layers": 1, "width": 32, "heads": 2, "kv_heads": 1, "head_dim": 16, "hidden": 64, "context": 32},
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
    },
}


@dataclass
class Results:
    """A results folder with everything that training reads."""

    folder: Path
    script: Path = SCRIPT

    def config(self, **train) -> Path:
        """A config file with ``train`` keys over the tiny ones."""
        path = self.folder / f"config-{len(list(self.folder.glob('config-*')))}.yaml"
        path.write_text(yaml.safe_dump({**TINY, "train": {**TINY["train"], **train}}))
        return path

    def arguments(self, config: Path, *more: str) -> list[str]:
        """The command line."""
        return ["--config", str(config), "--results", str(self.folder), "--threads", "1", *more]

    def start(self, config: Path) -> subprocess.Popen:
        """The trainer as a process of its own."""
        command = [sys.executable, str(SCRIPT), *self.arguments(config)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})

    def checkpoints(self) -> list[Path]:
        """Checkpoints of all runs, oldest step first."""
        return sorted(self.folder.glob("checkpoints/*/step_*.pt"))

    def wait_for_step(self, process: subprocess.Popen, step: int, seconds: float = 120.0) -> None:
        """Until a checkpoint of ``step`` or later is there; fails when the process ends before."""
        deadline = time.monotonic() + seconds
        while not any(int(p.stem[5:]) >= step for p in self.checkpoints()):
            assert process.poll() is None, f"ended before step {step}: {process.stderr.read()}"
            assert time.monotonic() < deadline, f"no checkpoint of step {step}"
            time.sleep(0.005)


@pytest.fixture
def make_results(tmp_path):
    """Makes a results folder; the same content each time."""

    def make(name: str = "results") -> Results:
        folder = tmp_path / name
        tokenizer = Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", {EOT: 256})
        tokenizer.save(folder / "tokenizer")
        generator = np.random.default_rng(0)
        for split, count in (("train", 300), ("val", 20)):
            meta = Meta("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256)
            with BinWriter(folder / f"data/processed/{split}.bin", meta) as writer:
                for i in range(count):
                    text = " ".join(generator.choice(SENTENCE.split(), generator.integers(3, 20)))
                    ids = np.array([tokenizer.eot, *tokenizer.encode_ordinary(text)])
                    writer.append(ids, np.array([ids.size]), np.array([i], np.uint64), len(text))
        np.save(folder / "data/processed/val_overlap.npy", np.linspace(0, 0.5, 20))
        return Results(folder)

    return make


@pytest.fixture
def results(make_results):
    return make_results()
