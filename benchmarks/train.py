"""Whole training steps, tokens for each CPU-second: `python benchmarks/train.py [--json FILE]`.

    ours      forward, backward, clipping and both optimizers, as training runs them
    again     the same with train.activation_checkpointing
    plain     our reference model: the same without compiled operators, but for attention
    compiled  the same through torch.compile, and with all logits, which it fuses with the loss
    torch     compiled with torch's attention: no operator of the model is ours
    gpt       GPT-2's shape by nanoGPT's recipe, the baseline of benchmarks/learning.py
    hf        transformers' Qwen3 of our shape, trained by the same recipe

The shape `default` is the default run as the configuration has it: its model, its rows and its
softmax over a sample of the vocabulary, which is drawn anew each step as training draws it (ours,
again, plain, compiled, torch; gpt and hf have no such thing and take the whole vocabulary).
`full-softmax` is that run before it was sampled, with rows of 256 tokens: what all sides compute
alike, and what rows named default were until then. The other shapes take the whole vocabulary, too.

All run in this process, in turn, one step each a round, on the same rows of synthetic documents and
with the allocator's settings of training; all but gpt and hf begin with the same weights, and their
losses are compared before anything is timed. Documents are ours alone: gpt and hf attend to
the whole row. torch's attention takes them as a mask, with which it is slower: plain and compiled
have ours. All but gpt and hf have our optimizers.

Figures are medians of CPU time; tokens a second are of the median of wall-clock time. share_of_peak
is the model's operations (multiply-adds count two, causal half of attention, of the head what the
softmax goes over) over those of a product of 1024 x 1024 matrices, in the steps' own dtype, on one
thread in the same time.

That dtype is what training takes here: bf16 where the CPU multiplies it, else fp32, for all sides
(gpt and hf by autocast in bf16, without it in fp32). `--dtype` takes the other one.

`--threads 1 2` also says what the second thread gains: each round times a step on one thread, on
two and on one again, and the median of the rounds' ratios is printed beside what the machine gives
to independent products in the same rounds (scaling.py says why). It takes some 40 rounds where
other work runs, and means nothing where other work keeps a core busy.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from attn import DTYPES, cpu_name
from gpt2_shape import gpt
from scaling import Machine, gained

from pytorch_ext import dispatch
from snakelm.config import Model, load_config
from snakelm.device import multiplies_bf16
from snakelm.model import Decoder, model_size
from snakelm.training.batches import Rows
from snakelm.training.distributed import World
from snakelm.training.launch import restart_with_environment
from snakelm.training.optimizer import Optimizer
from snakelm.training.sampled_softmax import SoftmaxSampler
from snakelm.training.step import training_step


class Shape(NamedTuple):
    layers: int
    width: int
    heads: int
    hidden: int
    vocabulary: int
    context: int
    rows: int  # of a batch
    sampled: bool = False  # a softmax over some of the vocabulary, as train.sampled_softmax has it


def default_shape() -> Shape:
    """The default run."""
    config = load_config([])
    model, train, vocabulary = config.model, config.train, config.tokenizer.vocab_size
    rows = train.batch_tokens // model.context
    assert rows <= train.micro_batch, "one micro-batch"
    sampled = train.sampled_softmax != "off"
    return Shape(
        *(model.layers, model.width, model.heads, model.hidden, vocabulary),
        *(model.context, rows, sampled),
    )


SHAPES = {
    "default": default_shape(),
    "full-softmax": Shape(2, 256, 4, 512, 8192, 256, 8),
    "4x256": Shape(4, 256, 4, 768, 8192, 512, 4),
    "30m": Shape(6, 512, 8, 1536, 8192, 512, 4),
    "124m": Shape(12, 768, 12, 2048, 32768, 512, 1),
}
OURS, COMPILED = ("ours", "again"), ("compiled", "torch")
SAME_MODEL = (*OURS, "plain", *COMPILED)  # their losses are to agree
WHO = (*SAME_MODEL, "gpt", "hf")
COLUMNS = (
    f"{'shape':>12}{'who':>10}{'threads':>8}{'ms':>9}{'tok/CPU-s':>11}{'of peak':>9}"
    f"{'tok/s':>9}{'loss':>8}"
)
Step = Callable[[int], float]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "--shapes", nargs="+", choices=SHAPES, default=["default", "full-softmax", "4x256"]
    )
    parser.add_argument("--who", nargs="+", choices=WHO, default=["ours", "plain", "gpt"])
    parser.add_argument("--rounds", type=int, default=9, help="steps a median is taken of")
    parser.add_argument(
        "--threads", nargs="+", type=int, default=[1], help="CPU threads; the first, then others"
    )
    native = "bf16" if multiplies_bf16(torch.device("cpu")) else "fp32"
    parser.add_argument("--dtype", choices=DTYPES, default=native, help=f"here {native}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser.parse_args(argv)


@contextlib.contextmanager
def operators_of(who: str) -> Iterator[None]:
    """Within, the model's operators are the ones that ``who`` measures."""
    optimizer = {"adamw_step", "muon_step", "orthogonalize", "total_norm"}
    model = dispatch.TABLE.keys() - optimizer - {"attention"}
    names = dict.fromkeys(() if who in OURS else model, "reference")
    if who == "plain":
        names["linear_cross_entropy"] = "chunked"
    elif who == "torch":
        names["attention"] = "sdpa"
    rows = {op: (dispatch.Backend(x, default_on=(dispatch.ANY,)),) for op, x in names.items()}
    with mock.patch.dict(dispatch.TABLE, rows):
        yield


def rows_of(step: int, vocabulary: int, length: int, rows: int) -> Rows:
    """Documents of 40 tokens on average, frequent tokens first."""
    generator = np.random.default_rng(step)
    stream = (generator.random((rows, length + 1)) ** 3 * vocabulary).astype(np.int64)
    begins = generator.random((rows, length)) < 1 / 40
    start = np.maximum.accumulate(np.where(begins, np.arange(length), 0), axis=1)
    return Rows(stream[:, :-1].copy(), stream[:, 1:].copy(), start.astype(np.int32))


def model_of(shape: Shape) -> Model:
    """The configuration's model in this shape."""
    update = {
        "layers": shape.layers,
        "width": shape.width,
        "heads": shape.heads,
        "kv_heads": shape.heads,
        "head_dim": shape.width // shape.heads,
        "hidden": shape.hidden,
        "context": shape.context,
    }
    return load_config([]).model.model_copy(update=update)


def sampler_of(shape: Shape) -> SoftmaxSampler | None:
    """Of a default run's size. Frequent tokens come first in `rows_of`."""
    train = load_config([]).train
    common = np.arange(train.sampled_common)
    return (
        SoftmaxSampler(shape.vocabulary, common, train.sampled_random, 1) if shape.sampled else None
    )


def ours(name: str, dtype: torch.dtype, who: str = "ours") -> tuple[Step, float]:
    """(a step, operations of one); ``who``: one of SAME_MODEL."""
    shape = SHAPES[name]
    model, sampler = model_of(shape), sampler_of(shape)
    tokens = shape.rows * shape.context
    update = {"batch_tokens": tokens, "micro_batch": shape.rows}
    train = load_config([]).train.model_copy(update=update)
    network = Decoder(model, shape.vocabulary, dtype)
    network.initialize(torch.Generator().manual_seed(1))
    network.checkpoint_blocks = who == "again"
    optimizer, world = Optimizer(network, train), World()
    forward = torch.compile(network) if who in COMPILED else network

    def batch(number: int) -> Rows:
        rows = rows_of(number, shape.vocabulary, shape.context, shape.rows)
        return replace(rows, sample=sampler.draw(number, rows.targets)) if sampler else rows

    def step(number: int) -> float:
        with operators_of(who):
            done = training_step(
                number, forward, optimizer, batch(number), tokens, train, world, lambda: False
            )
        return done.loss

    sample = batch(0).sample
    size = model_size(model, shape.vocabulary, len(sample.tokens) if sample else None)
    return step, size.flops_per_token * tokens


def stock_step(
    network: torch.nn.Module,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    vocabulary: int,
    length: int,
    rows: int,
    dtype: torch.dtype,
) -> Step:
    """A step by nanoGPT's recipe: autocast to bf16, clipping, torch's fused AdamW."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, (0.9, 0.95), fused=True)

    def step(number: int) -> float:
        x, _, y = rows_of(number, vocabulary, length, rows).to(torch.device("cpu"))
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = loss_of(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def gpt_side(shape: str, dtype: torch.dtype) -> tuple[Step, float]:
    """The same for GPT-2's shape."""
    layers, width, heads, _, vocabulary, length, rows, _ = SHAPES[shape]
    torch.manual_seed(1)
    network = gpt(vocabulary, length, layers, width, heads)
    step = stock_step(network, lambda x, y: network(x, y)[1], vocabulary, length, rows, dtype)

    matrices = layers * 12 * width**2 + vocabulary * width
    attention = 3 * layers * 2 * 2 * width * (length + 1) / 2
    return step, (6 * matrices + attention) * rows * length


def hf_side(shape: str, dtype: torch.dtype) -> tuple[Step, float]:
    """The same for transformers' Qwen3 of our shape."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    vocabulary, rows = SHAPES[shape].vocabulary, SHAPES[shape].rows
    model = model_of(SHAPES[shape])
    torch.manual_seed(1)
    network = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=model.width,
            intermediate_size=model.hidden,
            num_hidden_layers=model.layers,
            num_attention_heads=model.heads,
            num_key_value_heads=model.kv_heads,
            head_dim=model.head_dim,
            max_position_embeddings=model.context,
            tie_word_embeddings=False,
            use_cache=False,
        )
    )

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return network(input_ids=x, labels=y, shift_labels=y).loss

    step = stock_step(network, loss_of, vocabulary, model.context, rows, dtype)
    return step, model_size(model, vocabulary).flops_per_token * rows * model.context


MAKE = {"gpt": gpt_side, "hf": hf_side}


class Times:
    """Seconds of a side's steps, or of the product, on some number of threads."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def take(self, work: Callable[..., Any], *arguments: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        made = work(*arguments)
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)
        return made


class Side:
    """One of WHO at a shape: its steps, their times and what threads gained, round by round."""

    def __init__(self, shape: str, name: str, threads: list[int], dtype: torch.dtype) -> None:
        self.name, (self.first, *self.others) = name, threads
        self.step, self.operations = (
            MAKE[name](shape, dtype) if name in MAKE else ours(shape, dtype, name)
        )
        self.losses = [self.step(0), self.step(1)]
        self.times = {count: Times() for count in threads}
        self.gains: dict[int, list[float]] = {count: [] for count in self.others}

    def round(self, number: int) -> None:
        """A step on the first number of threads, and for each other one a step on it and again one
        on the first.
        """
        before = self._seconds(self.first, number)
        for count in self.others:
            many, after = self._seconds(count, number), self._seconds(self.first, number)
            self.gains[count].append(gained((before, after), many))
            before = after

    def _seconds(self, count: int, number: int) -> float:
        torch.set_num_threads(count)
        self.losses.append(self.times[count].take(self.step, number))
        return self.times[count].wall[-1]


def measure(
    shape: str, who: list[str], rounds: int, threads: list[int], dtype: torch.dtype
) -> list[dict]:
    sides = [Side(shape, name, threads, dtype) for name in who]

    same = {side.name: side.losses[:2] for side in sides if side.name in SAME_MODEL}
    for losses in same.values():
        worst = max(abs(a / b - 1) for a, b in zip(losses, *list(same.values())[:1], strict=True))
        if worst > 1e-3:
            raise SystemExit(f"train.py: losses {same} differ; nothing measured")

    machines = {count: Machine(count, dtype) for count in threads[1:]}
    gains: dict[int, list[float]] = {count: [] for count in machines}
    product, factors = Times(), torch.randn(2, 1024, 1024).to(dtype).unbind()
    for number in range(2, rounds + 2):
        torch.set_num_threads(1)
        product.take(torch.mm, *factors)
        for side in sides:
            side.round(number)
        for count, machine in machines.items():
            gains[count].append(machine.gains())

    peak = 2 * 1024**3 / statistics.median(product.cpu)
    machine_gains = {count: statistics.median(taken) for count, taken in gains.items()}
    return [row_of(shape, side, n, peak, machine_gains.get(n)) for n in threads for side in sides]


def row_of(shape: str, side: Side, count: int, peak: float, machine: float | None) -> dict:
    """Figures of a side on ``count`` threads; ``machine``: what so many gain products, None for the
    number that others are compared with.
    """
    tokens = SHAPES[shape].rows * SHAPES[shape].context
    cpu = statistics.median(side.times[count].cpu)
    return {
        "shape": shape,
        "who": side.name,
        "threads": count,
        "ms": cpu * 1e3,
        "tokens_per_cpu_second": tokens / cpu,
        "share_of_peak": side.operations / cpu / peak,
        "tokens_per_second": tokens / statistics.median(side.times[count].wall),
        "gain_of_threads": machine and statistics.median(side.gains[count]),
        "gain_of_products": machine,
        "loss": side.losses[-1],
    }


def ratios(rows: list[dict]) -> Iterator[str]:
    """Ours against each other side in CPU time, and what threads gain each side."""
    mine = {row["threads"]: row for row in rows if row["who"] == "ours"}
    for row in rows:
        if row["who"] != "ours" and mine:
            ratio = mine[row["threads"]]["tokens_per_cpu_second"] / row["tokens_per_cpu_second"]
            yield f"ours / {row['who']} on {row['threads']}: {ratio:.2f}"
        if row["gain_of_threads"] is not None:
            yield (
                f"{row['who']} {rows[0]['threads']} -> {row['threads']} threads: "
                f"{row['gain_of_threads']:.2f} (products {row['gain_of_products']:.2f})"
            )


def main(argv: list[str] | None = None) -> int:
    if argv is None:
        restart_with_environment(sys.argv)
    options = parse(argv)
    about = {"device": cpu_name(), "torch": torch.__version__, "dtype": options.dtype}
    print(" · ".join(str(x) for x in about.values()))
    print(COLUMNS)

    rows = []
    for shape in options.shapes:
        dtype = DTYPES[options.dtype]
        measured = measure(shape, options.who, options.rounds, options.threads, dtype)
        for row in measured:
            print(
                f"{row['shape']:>12}{row['who']:>10}{row['threads']:>8}{row['ms']:>9.1f}"
                f"{row['tokens_per_cpu_second']:>11,.0f}{row['share_of_peak']:>9.0%}"
                f"{row['tokens_per_second']:>9,.0f}{row['loss']:>8.4f}"
            )
        print("; ".join(ratios(measured)), flush=True)
        rows += measured
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
