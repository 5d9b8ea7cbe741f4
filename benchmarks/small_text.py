"""What helps when a text is small and read again and again: the keys of train.regime alone and
together, weight decay and keeping the best, on some documents of a results folder.

    python benchmarks/small_text.py --results results --tokens 2_000_000 --epochs 8 --seeds 1 2 3

Every run is scripts/training/train.py in a process of its own with one thread, on the same
documents, with as many steps; only train.seed and the keys of the variant differ. CPU-seconds are
those of training, its last evaluation included, so what dropout and averages cost stands beside
what they gain. Bits per byte are of all held-out documents of the folder, and of those that have
nothing in common with the documents chosen.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import yaml

from snakelm.config import load_config
from snakelm.data.bins import BinWriter, open_bin
from snakelm.data.tokens.overlap import copied_share
from snakelm.files import write_json
from snakelm.training.launch import ENVIRONMENT
from snakelm.training.regime import REPEATED

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/training/train.py"
FRESH = {"regime": "fresh"}
VARIANTS: dict[str, dict[str, Any]] = {
    "fresh": FRESH,
    **{name: {**FRESH, name: value} for name, value in REPEATED.items()},
    "weight_decay": {**FRESH, "weight_decay": 0.3},
    "keep_best": {**FRESH, "keep_best": True},
    "repeated": {"regime": "repeated"},
    "repeated, weight_decay": {"regime": "repeated", "weight_decay": 0.3},
    "repeated, keep_best": {"regime": "repeated", "keep_best": True},
}
EVALUATIONS = 10  # along the way, where the best is kept


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--config", nargs="*", default=[], help="config files below the variants")
    parser.add_argument("--tokens", type=int, default=2_000_000, help="about as many in training")
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tokens = choose_documents(args.results, folder, args.tokens)
        print(f"{tokens:,} training tokens, {args.epochs:g} epochs", flush=True)
        print(
            f"{'variant':<24}{'seed':>6}{'steps':>8}{'CPU-s':>8}{'bpb':>9}{'clean':>9}", flush=True
        )

        for seed in args.seeds:
            for name in args.variants:
                row = {"variant": name, "seed": seed, **train(args, folder, tokens, name, seed)}
                rows.append(row)
                told = f"{name:<24}{seed:>6}{row['steps']:>8}{row['cpu']:>8.0f}"
                print(f"{told}{row['bpb']:>9.4f}{row['clean']:>9.4f}", flush=True)

    print_differences(rows)
    if args.json:
        write_json(args.json, {"rows": rows})
    return 0


def choose_documents(results: Path, folder: Path, most_tokens: int) -> int:
    """A results folder with some of the training documents, chosen once for all seeds; gives their
    tokens.
    """
    given, made = results / "data/processed", folder / "data/processed"
    made.mkdir(parents=True)
    train, val = open_bin(given / "train.bin"), open_bin(given / "val.bin")
    order = np.random.default_rng(0).permutation(train.meta.documents)
    ends = np.cumsum(np.diff(train.document_offsets)[order])
    chosen = np.sort(order[: max(1, np.searchsorted(ends, most_tokens, "right"))])

    empty = replace(train.meta, tokens=0, documents=0, text_bytes=0, max_token=0)
    with BinWriter(made / "train.bin", empty) as writer:
        for i in chosen:
            tokens = train.document(i)
            writer.append(tokens, np.array([len(tokens)]), train.document_ids[i : i + 1], 0)
    for name in ("val.bin", "val.idx"):
        shutil.copy(given / name, made / name)
    shutil.copytree(results / "tokenizer", folder / "tokenizer")

    small = open_bin(made / "train.bin")
    np.save(made / "val_overlap.npy", copied_share(val, small, load_config([]).evaluate.span)[0])
    return int(small.meta.tokens)


def train(
    args: argparse.Namespace, folder: Path, tokens: int, variant: str, seed: int
) -> dict[str, Any]:
    """The figures of one run."""
    config = load_config(args.config)
    steps = max(2, round(args.epochs * tokens / config.train.batch_tokens))
    keys: dict[str, Any] = {"steps": steps, "save_every": steps, "eval_every": steps, "seed": seed}
    keys |= {"sample_tokens": 0, **VARIANTS[variant]}
    if keys.get("keep_best"):
        keys["eval_every"] = max(1, steps // EVALUATIONS)
    path = folder / "variant.yaml"
    path.write_text(yaml.safe_dump({"train": keys}), encoding="utf-8")

    command = [sys.executable, str(SCRIPT), "--config", *map(str, args.config), str(path)]
    command += ["--results", str(folder), "--threads", "1"]
    ran = subprocess.run(
        command,
        env={**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(ran.stderr)
    made = folder / "final_model.pt.manifest.json"
    result = json.loads(made.read_text(encoding="utf-8"))["counts"]["result"]
    shutil.rmtree(folder / "checkpoints")
    figures = {"bpb": result["val_bpb"], "clean": result["val_bpb_clean"]}
    return {"steps": steps, "cpu": result["cpu_seconds"], **figures}


def print_differences(rows: list[dict[str, Any]]) -> None:
    """Of each variant to fresh with the same seed: mean, least and most over the seeds."""
    fresh = {row["seed"]: row["bpb"] for row in rows if row["variant"] == "fresh"}
    print("\nbits per byte less those of fresh: mean (least to most)")
    for name in dict.fromkeys(row["variant"] for row in rows if row["seed"] in fresh):
        gains = [row["bpb"] - fresh[row["seed"]] for row in rows if row["variant"] == name]
        mean = sum(gains) / len(gains)
        print(f"{name:<24}{mean:>+9.4f} ({min(gains):+.4f} to {max(gains):+.4f})")


if __name__ == "__main__":
    raise SystemExit(main())
