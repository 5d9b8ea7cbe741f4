"""Learning for each CPU-second, ours against GPT-2's shape with nanoGPT's recipe, on the same text
and tokenizer.

    python benchmarks/learning.py --results results --cpu 60 200 --baseline-cpu 600 \
        [--nanogpt DIR] [--nanochat DIR] [--seeds 1 2 3]

Every run is a process of its own with one thread, the same allocator settings, and a budget of
CPU-seconds that counts all it does from its start (imports, compilation, the counted start), but
for evaluations. Its learning rate follows the share of the budget that is used up, so each figure
is of a run annealed at that budget. `--steps 0` trains the configured number of steps instead, and
its CPU-seconds are part of the result. Both sides are measured in bits per byte of the same
held-out documents: all of them, and the clean ones. Several seeds give the mean and the spread as
well.

Settings that were chosen on held-out documents flatter themselves there. `--chosen-on FRACTION`
reports the documents that are held out at that prepare.val_fraction, which choices saw, and all
others apart: prepare the results folder with twice the fraction.

Baselines: `gpt`, written here after the same recipe (LayerNorm, learned positions, GELU, tied head,
AdamW, cosine, random crops of the plain stream, autocast to bf16 where the CPU multiplies it);
`--nanogpt DIR` takes model.py from your own clone of nanoGPT, `--nanochat DIR` model and optimizer
from one of nanochat, whose `--baseline-lr` is a factor on its own rates and whose compilation
counts nothing.
"""

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from snakelm.config import load_config
from snakelm.training.launch import ENVIRONMENT

MARK = "RESULT "
FIGURES = ("bpb", "bpb_clean", "apart", "apart_clean")  # bits per byte; NaN of no documents
THREADS = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        help="folder with data/processed and tokenizer",
    )
    parser.add_argument("--config", nargs="*", default=[], help="config files for ours")
    parser.add_argument(
        "--cpu", type=float, nargs="*", default=[60.0, 200.0], help="budgets of ours, CPU-seconds"
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs="*",
        default=[],
        help="runs of ours by steps instead of a budget; 0 for the config's train.steps",
    )
    parser.add_argument(
        "--layers",
        type=int,
        nargs="*",
        default=[],
        help="depths of ours; the config's when left out",
    )
    parser.add_argument(
        "--baseline-cpu", type=float, nargs="*", default=[600.0], help="budgets of the baselines"
    )
    parser.add_argument("--baseline", choices=("gpt", "none"), default="gpt")
    parser.add_argument(
        "--nanogpt",
        type=Path,
        metavar="DIR",
        help="a clone of nanoGPT; its model.py is a baseline too",
    )
    parser.add_argument(
        "--nanochat",
        type=Path,
        metavar="DIR",
        help="a clone of nanochat; its gpt.py and optim.py are a baseline too",
    )
    parser.add_argument("--ppmd", action="store_true", help="primed PPMd beside the models")
    parser.add_argument("--baseline-layers", type=int, nargs="*", default=[3])
    parser.add_argument("--baseline-lr", type=float, nargs="*", default=[1e-3])
    parser.add_argument("--baseline-context", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1337])
    parser.add_argument(
        "--chosen-on",
        type=float,
        metavar="FRACTION",
        help="prepare.val_fraction of the documents that settings were chosen on",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one run, in a process of its own
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if args.one:
        job = json.loads(args.one)
        print(MARK + json.dumps(run_one(args, job)), flush=True)
        return 0

    names = FIGURES if args.chosen_on else FIGURES[:2]
    heads = "".join(f"{name:>12}" for name in names)
    print(f"{'run':<28}{'seed':>6}{'CPU-s':>8}{'tokens':>11}{'tok/CPU-s':>11}{heads}", flush=True)
    rows = []
    for job in jobs(args):
        r = {**job, **spawn(args, job)}
        rows.append(r)
        rate = r["tokens"] / r["cpu"]
        told = f"{r['name']:<28}{r['seed']:>6}{r['cpu']:>8.0f}{r['tokens']:>11,}{rate:>11,.0f}"
        print(told + "".join(f"{r[name]:>12.4f}" for name in names), flush=True)

    if len(args.seeds) > 1:
        print_spread(rows, names)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


def print_spread(rows: list[dict], names: tuple[str, ...]) -> None:
    """Mean, least and most over the seeds, for each run and budget."""
    print(f"\n{'mean (least to most)':<28}{'budget':>8}" + "".join(f"{name:>28}" for name in names))
    for name, budget in dict.fromkeys((r["name"], r["budget"]) for r in rows):
        same = [r for r in rows if (r["name"], r["budget"]) == (name, budget)]
        told = f"{name:<28}" + (f"{budget:>8.0f}" if budget else " " * 8)
        for figure in names:
            values = [r[figure] for r in same]
            mean, spread = sum(values) / len(values), f"({min(values):.4f} to {max(values):.4f})"
            told += f"{f'{mean:.4f} {spread}':>28}"
        print(told, flush=True)


def jobs(args: argparse.Namespace) -> list[dict]:
    """Every run, the short ones first."""
    clones = [kind for kind in ("nanogpt", "nanochat") if getattr(args, kind)]
    kinds = ([args.baseline] if args.baseline != "none" else []) + clones
    runs = []
    config = load_config(args.config)
    if args.ppmd:
        runs.append({"kind": "ppmd", "name": "primed PPMd", "seed": config.seed, "budget": 0})

    for seed in args.seeds:
        for layers in args.layers or [config.model.layers]:
            name = f"ours, {layers} layer{'s' * (layers > 1)}"
            job = {"kind": "ours", "name": name, "layers": layers, "seed": seed}
            runs += [{**job, "budget": budget} for budget in args.cpu]
            for steps in (steps or config.train.steps for steps in args.steps):
                runs.append({**job, "name": f"{name}, {steps} steps", "steps": steps, "budget": 0})
        for kind, layers, lr in itertools.product(kinds, args.baseline_layers, args.baseline_lr):
            job = {
                "kind": kind,
                "name": f"{kind}, {layers} layers, lr {lr:g}",
                "layers": layers,
                "seed": seed,
                "lr": lr,
            }
            runs += [{**job, "budget": budget} for budget in args.baseline_cpu]
    return sorted(runs, key=lambda job: job["budget"])


def spawn(args: argparse.Namespace, job: dict) -> dict:
    """The job in a fresh process."""
    command = [sys.executable, __file__, "--results", str(args.results), "--one", json.dumps(job)]
    command += ["--config", *args.config] if args.config else []
    for kind in ("nanogpt", "nanochat"):
        command += [f"--{kind}", str(getattr(args, kind))] if getattr(args, kind) else []
    command += ["--baseline-context", str(args.baseline_context)]
    command += ["--chosen-on", str(args.chosen_on)] if args.chosen_on else []
    ran = subprocess.run(
        command,
        env={**os.environ, **ENVIRONMENT, **THREADS},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(
        next(line for line in ran.stdout.splitlines() if line.startswith(MARK))[len(MARK) :]
    )


class Budget:
    """CPU-seconds of this process and what it started, from its beginning."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.left_out = 0.0

    def used(self) -> float:
        """CPU-seconds so far, but for those left out."""
        t = os.times()
        return t.user + t.system + t.children_user + t.children_system - self.left_out

    def leave_out(self, seconds: float) -> None:
        """Count these as not used."""
        self.left_out += seconds

    def share(self) -> float:
        """The part of the budget that is used up."""
        return min(1.0, self.used() / self.seconds)


def run_one(args: argparse.Namespace, job: dict) -> dict:
    budget = Budget(job["budget"])
    import torch

    torch.set_num_threads(1)
    measure = {"ours": train_ours, "ppmd": measure_ppmd}.get(job["kind"], train_baseline)
    return measure(args, job, budget)


def opened(results: Path):
    """Token files, bytes of each token, the copied share of each held-out document."""
    import numpy as np

    from snakelm.data.bins import open_bin
    from snakelm.tokenizer import Tokenizer

    folder = results / "data/processed"
    lengths = Tokenizer.load(results / "tokenizer").token_lengths
    return (
        open_bin(folder / "train.bin"),
        open_bin(folder / "val.bin"),
        lengths,
        np.load(folder / "val_overlap.npy"),
    )


def parts_of(args: argparse.Namespace, config, val, overlap) -> list:
    """The held-out documents of each of FIGURES, bool [documents]."""
    import numpy as np

    from snakelm.data.split import is_validation

    clean = overlap < config.evaluate.clean_share
    seen = np.ones_like(clean)
    if args.chosen_on:
        seen = is_validation(val.document_ids, args.chosen_on, config.seed)
    return [seen, seen & clean, ~seen, ~seen & clean]


def figures(args: argparse.Namespace, config, val, overlap, nll, text_bytes) -> dict[str, float]:
    """Bits per byte from the ``nll`` (nats) and ``text_bytes`` of every held-out document."""

    def bits_per_byte(chosen) -> float:
        size = float(text_bytes[chosen].sum())
        return float(nll[chosen].sum()) / math.log(2) / size if size else math.nan

    parts = parts_of(args, config, val, overlap)
    return dict(zip(FIGURES, map(bits_per_byte, parts), strict=True))


def measure_ppmd(args: argparse.Namespace, job: dict, budget: Budget) -> dict:
    """The workflow's own baseline, primed with the training text for each set by itself."""
    from learning_baselines import ppmd_bits_per_byte

    config = load_config(args.config)
    train_bin, val, _, overlap = opened(args.results)
    seen, seen_clean, apart, apart_clean = parts_of(args, config, val, overlap)
    pairs = ((seen, seen_clean), (apart, apart_clean))
    rates = [ppmd_bits_per_byte(train_bin, val, args.results, *pair) for pair in pairs]
    return {
        "cpu": budget.used(),
        "tokens": int(train_bin.meta.tokens),
        **dict(zip(FIGURES, itertools.chain(*rates), strict=True)),
    }


def train_ours(args: argparse.Namespace, job: dict, budget: Budget) -> dict:
    """The trainer's parts, with the schedule by share of the budget instead of share of the
    steps.
    """
    import numpy as np
    import torch

    from snakelm.device import set_up_device
    from snakelm.log import Log
    from snakelm.model import Decoder
    from snakelm.training.batches import Batches
    from snakelm.training.distributed import World
    from snakelm.training.initial_weights import set_initial_weights
    from snakelm.training.optimizer import Optimizer, lr_factor
    from snakelm.training.sampled_softmax import choose_sampler
    from snakelm.training.step import training_step
    from snakelm.training.validation import evaluate

    config = load_config(args.config)
    train_bin, val, lengths, overlap = opened(args.results)
    shape = config.model.model_copy(update={"layers": job["layers"]})
    training = config.train.model_copy(update={"seed": job["seed"]})
    batches = Batches(train_bin, shape.context, training.batch_tokens, job["seed"])
    batches.dropout = training.dropout or 0.0

    generator = torch.Generator().manual_seed(job["seed"])
    device = set_up_device(training.device, training.precision, 1)
    first_targets = batches.rows(0).targets
    batches.sampler = choose_sampler(training, train_bin, first_targets, device, Log("learning"))
    model = Decoder(shape, train_bin.meta.vocab_size, device.dtype)
    set_initial_weights(model, training, train_bin, generator, device.dtype)
    forward = torch.compile(model) if training.compile == "on" else model
    optimizer = Optimizer(model, training)

    step, steps = 0, job.get("steps")
    while step < steps if steps else budget.share() < 1:
        # The schedule of a run whose length puts this step at the share of it that is used up.
        length = steps or max(step + 1, round((step + 1) / max(budget.share(), 1e-3)))
        schedule = training.model_copy(
            update={"steps": length, "warmup": min(training.warmup, length)}
        )
        assert 0 < lr_factor(step, schedule) <= 1

        rows, targets = batches.rows(step), training.batch_tokens
        training_step(step, forward, optimizer, rows, targets, schedule, World(), lambda: False)
        step += 1

    cpu = budget.used()
    evaluation = evaluate(
        model, val, np.arange(val.meta.documents), lengths, np.ones(val.meta.documents, bool)
    )
    nll, text_bytes = evaluation.nll, evaluation.text_bytes
    return {
        "cpu": cpu,
        "steps": step,
        "tokens": step * training.batch_tokens,
        **figures(args, config, val, overlap, nll, text_bytes),
    }


def train_baseline(args: argparse.Namespace, job: dict, budget: Budget) -> dict:
    """A model by another project's recipe, measured as ours is."""
    import learning_nanochat
    from learning_baselines import baseline_losses, train_gpt2

    config = load_config(args.config)
    train_bin, val, lengths, overlap = opened(args.results)
    train = learning_nanochat.train if job["kind"] == "nanochat" else train_gpt2
    begun = time.monotonic()
    model, steps = train(args, job, budget, train_bin, config.train.batch_tokens)

    cpu = budget.used()
    nll, text_bytes = baseline_losses(model, val, lengths, args.baseline_context)
    return {
        "cpu": cpu,
        "steps": steps,
        "tokens": steps * config.train.batch_tokens,
        **figures(args, config, val, overlap, nll, text_bytes),
        "wall": time.monotonic() - begun,
    }


if __name__ == "__main__":
    raise SystemExit(main())
