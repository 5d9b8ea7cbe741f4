"""Whether the rates that `size` transfers are the best at each size, and what sizes and lengths of
a run come to: the record that `snakemake plan` predicts from.

    python benchmarks/size_dial.py --results results --json snakelm/evaluation/recorded_runs.json

At each size, all learning rates times each of --factors, for --rates-at times the dial's own steps;
and with the dial's rates, its steps times each of --lengths. Then each size as the law has it that
is fitted to all others. Every run is scripts/training/train.py in a process of its own with one
thread, on token files that are prepared once for each size's vocabulary from the documents of the
results folder. The JSON file is written after every run, and runs that stand in it are not made
again; other texts (--text NAME, another results folder) go into the same file. CPU-seconds are
those of training, its last evaluation included.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import yaml

from snakelm.config import Config, load_config
from snakelm.config.dial import multiplied
from snakelm.data.bins import open_bin
from snakelm.evaluation.plan_text import difficulty_of
from snakelm.evaluation.size_law import RecordedRuns, SizeLaw
from snakelm.files import write_json
from snakelm.training.launch import ENVIRONMENT

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
DOCUMENTS = "data/deduplicated/documents.parquet"
HELD_OUT = load_config().prepare.val_fraction
RATES = ("lr", "embedding_lr", "head_lr", "scalar_lr")
SAME = ("size", "factor", "length", "seed", "text")  # what tells runs apart


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--config", type=Path, nargs="*", default=[], help="that it was made with")
    parser.add_argument("--text", default="docs", help="name of its text, for the record")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1, 2, 3, 4])
    parser.add_argument("--factors", type=float, nargs="*", default=[1.0, 0.5, 2.0])
    parser.add_argument("--rates-at", type=float, default=1.0, help="length of the former")
    parser.add_argument("--lengths", type=float, nargs="*", default=[0.5, 2.0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="the record")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    record = {"law": args.text, "difficulty": {}, "runs": []}
    if args.json.exists():
        record = json.loads(args.json.read_text("utf-8"))
    record["difficulty"][args.text] = difficulty_of(args.results / DOCUMENTS, HELD_OUT, 0)
    rows = record["runs"]
    done = {tuple(row[key] for key in SAME) for row in rows}
    print(f"{'size':>4}{'rates':>7}{'length':>8}{'seed':>6}{'CPU-s':>8}{'bpb':>9}{'clean':>9}")

    with tempfile.TemporaryDirectory() as made:
        for size in args.sizes:
            folder = None
            wanted = [(factor, args.rates_at) for factor in args.factors]
            wanted += [(1.0, length) for length in args.lengths]
            wanted = list(dict.fromkeys(wanted))
            for seed in args.seeds:
                for factor, length in wanted:
                    if (size, factor, length, seed, args.text) in done:
                        continue
                    folder = folder or prepare(args, Path(made, str(size)), size)
                    row = train(args.config, folder, size, factor, length, seed)
                    rows.append({**row, "text": args.text})
                    write_json(args.json, record)
                    told = f"{size:>4}{factor:>7g}{length:>8g}{seed:>6}{row['cpu']:>8.1f}"
                    print(f"{told}{row['bpb']:>9.4f}{row['clean'] or 0:>9.4f}", flush=True)

    write_json(args.json, record)
    print_flatness([row for row in rows if row["text"] == args.text])
    print_predictions(RecordedRuns.model_validate(record))
    return 0


def prepare(args: argparse.Namespace, folder: Path, size: int) -> Path:
    """A results folder with the size's tokenizer and token files of the documents of another."""
    own = folder / "size.yaml"
    folder.mkdir()
    own.write_text(yaml.safe_dump({"size": size}), encoding="utf-8")
    tokenizer, processed = folder / "tokenizer", folder / "data/processed"
    shard = folder / "shard"
    documents, config = ["--documents", args.results / DOCUMENTS], [*args.config, own]

    step("preparation/train_tokenizer", config, *documents, "--output", tokenizer)
    common = ["--tokenizer", tokenizer, "--output-dir"]
    step("preparation/prepare_shard", config, "--shard", 0, "--of", 1, *documents, *common, shard)
    step("preparation/prepare_data", config, "--shards", shard, *common, processed)
    return folder


def step(script: str, config: list[Path], *flags: Any) -> None:
    """Runs a step by hand; ends with its words where it fails."""
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), "--config"]
    ran = subprocess.run(
        [*command, *map(str, [*config, *flags])],
        env={**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(ran.stderr)


def train(
    below: list[Path], folder: Path, size: int, factor: float, length: float, seed: int
) -> dict[str, Any]:
    """The figures of one run."""
    own = folder / "run.yaml"
    own.write_text(yaml.safe_dump(keys(size, factor, length, seed)), encoding="utf-8")
    config = load_config([*below, own])
    step("training/train", [*below, own], "--results", folder, "--threads", 1)

    manifest = json.loads((folder / "final_model.pt.manifest.json").read_text(encoding="utf-8"))
    result = manifest["counts"]["result"]
    shutil.rmtree(folder / "checkpoints")
    return {
        "size": size,
        "factor": factor,
        "length": length,
        "seed": seed,
        **counts(config, folder),
        "bpb": result["val_bpb"],
        "clean": result["val_bpb_clean"],
        "cpu": result["cpu_seconds"],
    }


def keys(size: int, factor: float, length: float, seed: int) -> dict[str, Any]:
    """The configuration of a run."""
    steps = max(2, round(length * load_config(overrides={"size": size}).train.steps))
    train = load_config(overrides={"size": size, "train": {"steps": steps}}).train
    own: dict[str, Any] = {rate: min(1.0, factor * getattr(train, rate)) for rate in RATES}
    own |= {"steps": steps, "eval_every": steps, "save_every": steps}
    return {"size": size, "train": {**own, "seed": seed, "sample_tokens": 0}}


def counts(config: Config, folder: Path) -> dict[str, float]:
    """What a law is made of: parameters that are multiplied, tokens read, tokens there are, and the
    bytes that one stands for.
    """
    train_bin = open_bin(folder / "data/processed/train.bin")
    return {
        "parameters": multiplied(config.model, train_bin.meta.vocab_size),
        "tokens": config.train.steps * config.train.batch_tokens,
        "unique_tokens": int(train_bin.meta.tokens),
        "bytes_per_token": train_bin.meta.text_bytes / train_bin.meta.tokens,
    }


def print_flatness(rows: list[dict[str, Any]]) -> None:
    """How much worse each factor is than the dial's rates, over seeds, and the seeds' spread."""
    print("\nbits per byte above the dial's own rates: mean (least to most); spread of its seeds")
    for size, length in sorted({(r["size"], r["length"]) for r in rows if r["factor"] != 1}):
        alike = [row for row in rows if (row["size"], row["length"]) == (size, length)]
        own = {row["seed"]: row["bpb"] for row in alike if row["factor"] == 1}
        spread = np.ptp(list(own.values())) if len(own) > 1 else float("nan")
        for factor in sorted({row["factor"] for row in alike} - {1.0}):
            above = [
                row["bpb"] - own[row["seed"]]
                for row in alike
                if row["factor"] == factor and row["seed"] in own
            ]
            if not above:  # the dial's own rates were not run with these seeds
                continue
            told = f"{np.mean(above):+.4f} ({min(above):+.4f} to {max(above):+.4f})"
            print(f"size {size}, length {length:g}, rates × {factor:g}: {told}; {spread:.4f}")


def print_predictions(record: RecordedRuns) -> None:
    """Each size as the law of all others has it, and other texts as that of the law's has them."""
    print("\npredicted without runs of that size, 95%; measured")
    runs = record.of_the_law()
    for size in sorted({run.size for run in runs}):
        others = [run for run in runs if run.size != size]
        if len({run.size for run in others}) < 3:
            continue
        law = SizeLaw(record, others)
        for run in (run for run in runs if run.size == size):
            bpb = law.predict(run.parameters, run.effective)
            told = f"{bpb.value:.4f} ({bpb.low:.4f} to {bpb.high:.4f}), {run.bpb:.4f}"
            print(f"size {size}, length {run.length:g}, seed {run.seed}: {told}")

    law = SizeLaw(record)
    for run in (run for run in record.runs if run.text != record.law and run.factor == 1):
        bpb = law.predict(run.parameters, run.effective, record.difficulty[run.text])
        told = f"{bpb.value:.4f} ({bpb.low:.4f} to {bpb.high:.4f}), {run.bpb:.4f}"
        print(f"{run.text}, size {run.size}, length {run.length:g}: {told}")
    print(f"error for each unit of the logarithm of difficulty: {law.text_error:.3f}")


if __name__ == "__main__":
    raise SystemExit(main())
