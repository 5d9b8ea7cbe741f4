"""Whole training steps, tokens for each CPU-second: `python benchmarks/train.py [--json FILE]`.

    ours    forward, backward, clipping and both optimizers, as training runs them
    plain   the same with the pointwise operators (PASSES of pytorch_ext/dispatch.py) in plain torch
    gpt     GPT-2's shape by nanoGPT's recipe, the baseline of benchmarks/learning.py

All run in this process, in turn, one step each a round, on the same rows of synthetic documents and
with the allocator's settings of training; ours and plain begin with the same weights, and their
losses are compared before anything is timed. Figures are medians of CPU time. share_of_peak is the
model's operations (multiply-adds count two, causal half of attention) over those of a bf16 product
of 1024 x 1024 matrices in the same time.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from attn import cpu_name
from learning import gpt

from pytorch_ext import dispatch
from snakelm.config import load_config
from snakelm.model import Decoder, model_size
from snakelm.training.batches import Rows
from snakelm.training.distributed import World
from snakelm.training.launch import restart_with_environment
from snakelm.training.optimizer import Optimizer
from snakelm.training.step import training_step

# Layers, width, heads, hidden size, vocabulary, context, rows of a batch.
SHAPES = {
    "default": (2, 256, 4, 512, 8192, 256, 8),
    "4x256": (4, 256, 4, 768, 8192, 512, 4),
    "30m": (6, 512, 8, 1536, 8192, 512, 4),
    "124m": (12, 768, 12, 2048, 32768, 512, 1),
}
COLUMNS = f"{'shape':>8}{'who':>8}{'ms':>9}{'tok/CPU-s':>11}{'of peak':>9}{'loss':>8}"
Step = Callable[[int], float]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["default", "4x256"])
    parser.add_argument("--who", nargs="+", choices=("ours", "plain", "gpt"), default=None)
    parser.add_argument("--rounds", type=int, default=9, help="steps a median is taken of")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser.parse_args(argv)


@contextlib.contextmanager
def plain_passes(active: bool) -> Iterator[None]:
    """The pointwise operators run their references."""
    passes = {
        op: (dispatch.REFERENCE,) for op, row in dispatch.TABLE.items() if row is dispatch.PASSES
    }
    with mock.patch.dict(dispatch.TABLE, passes if active else {}):
        yield


def rows_of(step: int, vocabulary: int, length: int, rows: int) -> Rows:
    """Documents of 40 tokens on average, frequent tokens first."""
    generator = np.random.default_rng(step)
    stream = (generator.random((rows, length + 1)) ** 3 * vocabulary).astype(np.int64)
    begins = generator.random((rows, length)) < 1 / 40
    start = np.maximum.accumulate(np.where(begins, np.arange(length), 0), axis=1)
    return Rows(stream[:, :-1].copy(), stream[:, 1:].copy(), start.astype(np.int32))


def ours(shape: str, plain: bool) -> tuple[Step, float]:
    """(a step, operations of one)."""
    layers, width, heads, hidden, vocabulary, length, rows = SHAPES[shape]
    config = load_config([])
    model = config.model.model_copy(
        update={
            "layers": layers,
            "width": width,
            "heads": heads,
            "kv_heads": heads,
            "head_dim": width // heads,
            "hidden": hidden,
            "context": length,
        }
    )
    train = config.train.model_copy(update={"batch_tokens": rows * length, "micro_batch": rows})
    network = Decoder(model, vocabulary, torch.bfloat16)
    network.initialize(torch.Generator().manual_seed(1))
    optimizer, world = Optimizer(network, train), World()

    def step(number: int) -> float:
        batch = rows_of(number, vocabulary, length, rows)
        with plain_passes(plain):
            done = training_step(
                number, network, optimizer, batch, rows * length, train, world, lambda: False
            )
        return done.loss

    return step, model_size(model, vocabulary).flops_per_token * rows * length


def gpt_side(shape: str) -> tuple[Step, float]:
    """The same for the baseline."""
    layers, width, heads, _, vocabulary, length, rows = SHAPES[shape]
    torch.manual_seed(1)
    network = gpt(vocabulary, length, layers, width, heads)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, (0.9, 0.95), fused=True)

    def step(number: int) -> float:
        x, _, y = rows_of(number, vocabulary, length, rows).to(torch.device("cpu"))
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(x, y)[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    matrices = layers * 12 * width**2 + vocabulary * width
    attention = 3 * layers * 2 * 2 * width * (length + 1) / 2
    return step, (6 * matrices + attention) * rows * length


PEAK = torch.randn(2, 1024, 1024).bfloat16().unbind()


def measure(shape: str, who: list[str], rounds: int) -> list[dict]:
    _, _, _, _, _, length, batch = SHAPES[shape]
    make = {
        "ours": lambda: ours(shape, plain=False),
        "plain": lambda: ours(shape, plain=True),
        "gpt": lambda: gpt_side(shape),
    }
    sides = {name: make[name]() for name in who}

    losses = {name: [step(0), step(1)] for name, (step, _) in sides.items()}
    if {"ours", "plain"} <= losses.keys():
        worst = max(abs(a / b - 1) for a, b in zip(losses["ours"], losses["plain"], strict=True))
        if worst > 1e-3:
            raise SystemExit(f"train.py: losses {losses} differ; nothing measured")

    seconds: dict[str, list[float]] = {name: [] for name in [*sides, "product"]}
    for number in range(2, 2 + rounds):
        for name, (step, _) in sides.items():
            began = time.process_time()
            losses[name].append(step(number))
            seconds[name].append(time.process_time() - began)
        began = time.process_time()
        torch.mm(*PEAK)
        seconds["product"].append(time.process_time() - began)

    peak = 2 * 1024**3 / statistics.median(seconds["product"])
    rows = []
    for name, (_, operations) in sides.items():
        median = statistics.median(seconds[name])
        rows.append(
            {
                "shape": shape,
                "who": name,
                "ms": median * 1e3,
                "tokens_per_cpu_second": batch * length / median,
                "share_of_peak": operations / median / peak,
                "loss": losses[name][-1],
            }
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    if argv is None:
        restart_with_environment(sys.argv)
    options = parse(argv)
    torch.set_num_threads(options.threads)
    about = {"device": cpu_name(), "torch": torch.__version__, "threads": options.threads}
    print(" · ".join(str(x) for x in about.values()))
    print(COLUMNS)

    rows = []
    for shape in options.shapes:
        for row in measure(shape, options.who or ["ours", "plain", "gpt"], options.rounds):
            rows.append(row)
            print(
                f"{row['shape']:>8}{row['who']:>8}{row['ms']:>9.1f}"
                f"{row['tokens_per_cpu_second']:>11,.0f}{row['share_of_peak']:>9.0%}"
                f"{row['loss']:>8.4f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
