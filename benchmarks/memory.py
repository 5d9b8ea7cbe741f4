"""Memory that training said it would take, against what it took: the PREFLIGHT line beside the
peak resident memory of each process.

    python benchmarks/memory.py [NAME …] [--json FILE]

Every row is a run of scripts/training/train.py of a few steps, evaluation, sample and checkpoint
included, on token files of random tokens. A ratio above 1 means that more was said than taken.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import yaml

from snakelm.data.bins import BinWriter, Meta
from snakelm.files import write_json
from snakelm.tokenizer import EOT, Tokenizer
from snakelm.workflow.exit_codes import exit_code, parser

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/training/train.py"
STEPS = {"steps": 4, "eval_every": 2, "save_every": 2, "log_every": 1, "device": "cpu"}
DEEP = {"layers": 4, "width": 256, "heads": 4, "kv_heads": 4, "hidden": 768}
SMALL = {"layers": 12, "width": 768, "heads": 12, "kv_heads": 12, "hidden": 2048, "context": 1024}
ROWS = {"batch_tokens": 4096, "micro_batch": 4, "start": "random"}

# What lies over the default preset: (vocabulary, configuration).
RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    "smoke": (512, {"preset": "smoke"}),
    "default": (8192, {}),
    "default, fp32": (8192, {"train": {"precision": "fp32"}}),
    "default, random start": (8192, {"train": {"start": "random"}}),
    "default, vocabulary 32768": (32_768, {}),
    "default, full softmax": (8192, {"train": {"sampled_softmax": "off"}}),
    "default, full softmax, 32768": (32_768, {"train": {"sampled_softmax": "off"}}),
    "4x256": (8192, {"model": DEEP}),
    "4x256, context 512": (8192, {"model": {**DEEP, "context": 512}}),
    "4x256, context 512, 16 rows": (
        8192,
        {
            "model": {**DEEP, "context": 512},
            "train": {"batch_tokens": 8192, "micro_batch": 16},
        },
    ),
    "4x256, context 512, 16 rows, checkpointing": (
        8192,
        {
            "model": {**DEEP, "context": 512},
            "train": {
                "batch_tokens": 8192,
                "micro_batch": 16,
                "activation_checkpointing": True,
            },
        },
    ),
    "4x256, tied": (8192, {"model": {**DEEP, "tie_embeddings": True, "embedding_norm": False}}),
    "4x256, compiled": (8192, {"model": DEEP, "train": {"compile": "on"}}),
    "default, 2 processes": (8192, {"train": {"processes": 2}}),
    "12x768, 2 processes": (8192, {"model": SMALL, "train": {**ROWS, "processes": 2}}),
    "12x768, 2 processes, sharded": (
        8192,
        {"model": SMALL, "train": {**ROWS, "processes": 2, "sharding": "fsdp"}},
    ),
    "12x768, 2 rows of 1024": (
        8192,
        {"model": SMALL, "train": {"batch_tokens": 2048, "micro_batch": 2, "start": "random"}},
    ),
    "12x768, 4 rows of 1024": (8192, {"model": SMALL, "train": ROWS}),
    "12x768, 4 rows of 1024, checkpointing": (
        8192,
        {"model": SMALL, "train": {**ROWS, "activation_checkpointing": True}},
    ),
}
COLUMNS = f"{'run':<42} {'said MB':>8} {'peak MB':>8} {'said / peak':>12}"
# A child's peak counts from the process that started it, so that is a small one. It also keeps the
# largest of the processes that training starts, of which each has the model.
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""


def make_results(folder: Path, vocabulary: int) -> None:
    """What training reads: a tokenizer of single bytes and pairs, and files of random tokens."""
    pairs = (bytes(divmod(i, 256)) for i in range(vocabulary - 257))
    ranks = {token: i for i, token in enumerate([*(bytes([b]) for b in range(256)), *pairs])}
    tokenizer = Tokenizer(ranks, "gpt2", {EOT: len(ranks)})
    tokenizer.save(folder / "tokenizer")

    random = np.random.default_rng(0)
    for split, documents in (("train", 3000), ("val", 300)):
        meta = Meta("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256)
        with BinWriter(folder / f"data/processed/{split}.bin", meta) as writer:
            for i in range(documents):
                ids = random.integers(0, len(ranks), int(random.integers(50, 500)))
                ids[0] = tokenizer.eot
                size = int(tokenizer.token_lengths[ids[1:]].sum())
                writer.append(ids, np.array([ids.size]), np.array([i], np.uint64), size)
    np.save(folder / "data/processed/val_overlap.npy", np.zeros(300))


def measure(folder: Path, vocabulary: int, config: dict[str, Any]) -> tuple[float, float]:
    """Bytes said and bytes taken by one process of a run."""
    make_results(folder, vocabulary)
    settings = {**config, "train": {**STEPS, **config.get("train", {})}}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")

    command = [sys.executable, str(SCRIPT), "--config", str(path), "--results", str(folder)]
    ran = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command, "--threads", "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "400"},
        check=False,
    )
    said = re.search(r"memory about ([\d.]+) ([kMG])B", ran.stderr)
    if ran.returncode or said is None:
        raise SystemExit(ran.stderr)
    unit = {"k": 1e3, "M": 1e6, "G": 1e9}[said[2]]
    return float(said[1]) * unit, float(ran.stdout)


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("names", nargs="*", help="runs to measure; all of them without")
    arguments.add_argument("--json", type=Path, help="file for the figures")
    options = arguments.parse_args(argv)

    rows = []
    print(COLUMNS)
    for name in options.names or RUNS:
        with tempfile.TemporaryDirectory() as folder:
            said, peak = measure(Path(folder), *RUNS[name])
        rows.append({"run": name, "said": said, "peak": peak})
        print(f"{name:<42} {said / 1e6:>8.0f} {peak / 1e6:>8.0f} {said / peak:>12.2f}", flush=True)
    if options.json:
        write_json(options.json, {"rows": rows})
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
