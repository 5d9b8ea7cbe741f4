"""Learning for each CPU-second, ours against GPT-2's shape with nanoGPT's recipe, on the same text
and tokenizer.

    python benchmarks/learning.py --results results --cpu 60 200 --baseline-cpu 600 \
        [--nanogpt DIR] [--seeds 1 2 3]

Every run is a process of its own with one thread, the same allocator settings, and a budget of
CPU-seconds that counts all it does from its start (imports, compilation, the counted start), but
for evaluations. Its learning rate follows the share of the budget that is used up, so each figure
is of a run annealed at that budget. Both sides are measured in bits per byte of the same held-out
documents: all of them, and the clean ones.

Baselines: `gpt`, written here after the same recipe (LayerNorm, learned positions, GELU, tied head,
AdamW, cosine, random crops of the plain stream, bf16 autocast); `--nanogpt DIR` takes model.py from
your own clone of nanoGPT.
"""

import argparse
import contextlib
import importlib.util
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
THREADS = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
# Steps, share of the peak learning rate, weight decay.
BASELINE_WARMUP, BASELINE_FLOOR, BASELINE_DECAY = 100, 0.1, 0.1


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
    parser.add_argument("--baseline-layers", type=int, nargs="*", default=[3])
    parser.add_argument("--baseline-lr", type=float, nargs="*", default=[1e-3])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1337])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one run, in a process of its own
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if args.one:
        job = json.loads(args.one)
        print(MARK + json.dumps(run_one(args, job)), flush=True)
        return 0

    columns = f"{'CPU-s':>8}{'tokens':>10}{'tok/CPU-s':>11}{'bpb':>8}{'clean':>8}"
    print(f"{'run':<28}{'seed':>6}{columns}", flush=True)
    rows = []
    for job in jobs(args):
        r = {**job, **spawn(args, job)}
        rows.append(r)
        rate, clean = r["tokens"] / r["cpu"], r["bpb_clean"] or math.nan
        figures = f"{r['cpu']:>8.0f}{r['tokens']:>10,}{rate:>11,.0f}{r['bpb']:>8.4f}{clean:>8.4f}"
        print(f"{r['name']:<28}{r['seed']:>6}{figures}", flush=True)

    if args.json:
        args.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


def jobs(args: argparse.Namespace) -> list[dict]:
    """Every run, the short ones first."""
    kinds = [
        kind for kind in (args.baseline, "nanogpt" if args.nanogpt else "none") if kind != "none"
    ]
    runs = []

    for seed in args.seeds:
        for layers in args.layers or [load_config(args.config).model.layers]:
            job = {"kind": "ours", "name": f"ours, {layers} layers", "layers": layers, "seed": seed}
            runs += [{**job, "budget": budget} for budget in args.cpu]
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
    command += ["--nanogpt", str(args.nanogpt)] if args.nanogpt else []
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
    """CPU-seconds of this process and what it started, from its beginning, without those in
    `pause`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self._paused = seconds, 0.0

    def used(self) -> float:
        """CPU-seconds so far."""
        t = os.times()
        return t.user + t.system + t.children_user + t.children_system - self._paused

    def share(self) -> float:
        """The part of the budget that is used up."""
        return min(1.0, self.used() / self.seconds)

    @contextlib.contextmanager
    def pause(self):
        """What is used in here doesn't count."""
        begun = self.used()
        yield
        self._paused += self.used() - begun


def run_one(args: argparse.Namespace, job: dict) -> dict:
    budget = Budget(job["budget"])
    import torch

    torch.set_num_threads(1)
    train = {"ours": train_ours}.get(job["kind"], train_baseline)
    return train(args, job, budget)


def opened(results: Path):
    """Token files, bytes of each token, which held-out documents are clean (by config's share)."""
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


def train_ours(args: argparse.Namespace, job: dict, budget: Budget) -> dict:
    """The trainer's parts, with the schedule by share of the budget instead of share of the
    steps.
    """
    import numpy as np
    import torch

    from snakelm.device import choose_device
    from snakelm.model import Decoder
    from snakelm.training import bigram_init
    from snakelm.training.batches import Batches
    from snakelm.training.distributed import World
    from snakelm.training.optimizer import Optimizer, lr_factor
    from snakelm.training.step import training_step
    from snakelm.training.validation import evaluate

    config = load_config(args.config)
    train_bin, val, lengths, overlap = opened(args.results)
    shape, training = config.model.model_copy(update={"layers": job["layers"]}), config.train
    batches = Batches(train_bin, shape.context, training.batch_tokens, job["seed"])

    generator = torch.Generator().manual_seed(job["seed"])
    dtype = choose_device(training.device, training.precision, 1).dtype
    model = Decoder(shape, train_bin.meta.vocab_size, dtype).initialize(generator)
    if training.start != "random" and bigram_init.applies(shape, model.vocab_size):
        bigram_init.start_as_bigrams(model, train_bin, generator)
    forward = torch.compile(model) if training.compile == "on" else model
    optimizer = Optimizer(model, training)

    step = 0
    while (share := budget.share()) < 1:
        # The schedule of a run whose length puts this step at the share of it that is used up.
        length = max(step + 1, round((step + 1) / max(share, 1e-3)))
        schedule = training.model_copy(
            update={"steps": length, "warmup": min(training.warmup, length)}
        )
        assert 0 < lr_factor(step, schedule) <= 1

        rows, targets = batches.rows(step), training.batch_tokens
        training_step(step, forward, optimizer, rows, targets, schedule, World(), lambda: False)
        step += 1

    cpu = budget.used()
    with budget.pause():
        documents, clean = np.arange(val.meta.documents), overlap < config.evaluate.clean_share
        evaluation = evaluate(model, val, documents, lengths, clean)
    return {
        "cpu": cpu,
        "steps": step,
        "tokens": step * training.batch_tokens,
        "bpb": evaluation.bpb(),
        "bpb_clean": evaluation.bpb(clean_only=True),
    }


def train_baseline(args: argparse.Namespace, job: dict, budget: Budget) -> dict:
    """nanoGPT's recipe: AdamW, warm-up and cosine to a tenth, clipping at 1, random crops, bf16
    autocast.
    """
    import numpy as np
    import torch

    config = load_config(args.config)
    train_bin, val, lengths, overlap = opened(args.results)
    context, rows = config.model.context, config.train.batch_tokens // config.model.context

    torch.manual_seed(job["seed"])
    model = baseline_model(args, job, train_bin.meta.vocab_size, context)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": BASELINE_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=job["lr"], betas=(0.9, 0.95), fused=True)

    crops, stream = np.random.default_rng(job["seed"]), train_bin.tokens
    step, begun = 0, time.monotonic()
    while (share := budget.share()) < 1:
        cosine = BASELINE_FLOOR + (1 - BASELINE_FLOOR) * 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = job["lr"] * min(1.0, (step + 1) / BASELINE_WARMUP) * cosine

        starts = crops.integers(0, len(stream) - context - 1, rows)
        cut = np.stack([stream[s : s + context + 1] for s in starts]).astype(np.int64)
        x_BT, y_BT = torch.from_numpy(cut[:, :-1]), torch.from_numpy(cut[:, 1:].copy())
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(x_BT, y_BT)[1]
        loss.backward()

        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1

    cpu = budget.used()
    bpb, clean = baseline_bpb(model, val, lengths, overlap < config.evaluate.clean_share, context)
    return {
        "cpu": cpu,
        "steps": step,
        "tokens": step * rows * context,
        "bpb": bpb,
        "bpb_clean": clean,
        "wall": time.monotonic() - begun,
    }


def baseline_model(args: argparse.Namespace, job: dict, vocab_size: int, context: int):
    """A model whose forward(x, y) gives (logits, mean loss)."""
    if job["kind"] == "gpt":
        return gpt(vocab_size, context, job["layers"], width=256, heads=4)
    spec = importlib.util.spec_from_file_location("nanogpt_model", args.nanogpt / "model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    with contextlib.redirect_stdout(sys.stderr):
        spec.loader.exec_module(module)
        shape = {
            "block_size": context,
            "vocab_size": vocab_size,
            "n_layer": job["layers"],
            "n_head": 4,
        }
        return module.GPT(module.GPTConfig(**shape, n_embd=256, dropout=0.0, bias=False))


def gpt(vocab_size: int, context: int, layers: int, width: int, heads: int):
    """GPT-2's shape without biases, after Radford et al. (2019): pre-norm, learned positions, GELU,
    tied head.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    def linear(inputs: int, outputs: int) -> nn.Linear:
        return nn.Linear(inputs, outputs, bias=False)

    class Gpt2Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(2))
            self.qkv, self.out = linear(width, 3 * width), linear(width, width)
            self.up, self.down = linear(width, 4 * width), linear(4 * width, width)

        def forward(self, x_BTC):
            heads_BT3HD = self.qkv(self.norms[0](x_BTC)).unflatten(-1, (3, heads, -1))
            q_BHTD, k_BHTD, v_BHTD = heads_BT3HD.permute(2, 0, 3, 1, 4).unbind()
            y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=True)
            x_BTC = x_BTC + self.out(y_BHTD.transpose(1, 2).flatten(2))
            return x_BTC + self.down(F.gelu(self.up(self.norms[1](x_BTC))))

    class Gpt2(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocab_size, width)
            self.positions = nn.Embedding(context, width)
            self.blocks = nn.ModuleList(Gpt2Block() for _ in range(layers))
            self.norm = nn.LayerNorm(width, bias=False)

            for name, p in self.named_parameters():
                if p.ndim == 2:
                    residual = name.endswith(("out.weight", "down.weight"))
                    nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)

        def forward(self, x_BT, y_BT=None):
            x_BTC = self.tokens(x_BT) + self.positions(torch.arange(x_BT.shape[1]))
            for block in self.blocks:
                x_BTC = block(x_BTC)
            logits_BTV = F.linear(self.norm(x_BTC), self.tokens.weight)
            if y_BT is None:
                return logits_BTV, None
            loss = F.cross_entropy(logits_BTV.flatten(0, 1).float(), y_BT.flatten())
            return logits_BTV, loss

    return Gpt2()


def baseline_bpb(model, val, lengths, clean, context: int) -> tuple[float, float]:
    """Bits per byte of all held-out text and of the clean documents, in rows of the plain
    stream.
    """
    import numpy as np
    import torch

    tokens = np.asarray(val.tokens, dtype=np.int64)
    owner = np.repeat(np.arange(val.meta.documents), np.diff(val.document_offsets))
    nll, text_bytes = np.zeros(val.meta.documents), np.zeros(val.meta.documents)

    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for first in range(0, len(tokens) - 1, context):
            row = tokens[first : first + context + 1]
            x_T, y_T = torch.from_numpy(row[:-1]), torch.from_numpy(row[1:])
            logits_TV = model(x_T[None], y_T[None])[0][0].float()
            loss_T = torch.nn.functional.cross_entropy(logits_TV, y_T, reduction="none").numpy()

            text = row[1:] != val.meta.eot  # no byte of text pays for an end-of-text token
            documents = owner[first + 1 : first + len(row)][text]
            np.add.at(nll, documents, loss_T[text])
            np.add.at(text_bytes, documents, lengths[row[1:][text]])

    def bits_per_byte(chosen: np.ndarray) -> float:
        return float(nll[chosen].sum() / math.log(2) / max(1, text_bytes[chosen].sum()))

    return bits_per_byte(np.ones_like(clean)), bits_per_byte(clean)


if __name__ == "__main__":
    raise SystemExit(main())
