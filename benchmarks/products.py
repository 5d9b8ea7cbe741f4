"""Weights' gradients against products of torch: `python benchmarks/products.py [--threads N]`.

The projections of a layer that read one input, in bfloat16: pytorch_ext.weight_gradients, which
leaves float32, and torch's products, cast to float32 as an optimizer needs them. Both sides run in
this process, in turn, on the same tensors, a dozen sets of them after each other so that the caches
hold what they hold in training; results are compared before anything is timed. Medians of CPU time,
in GFLOP/s (a multiply-add counts two), beside those of a product of 1024 x 1024 matrices.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from attn import cpu_name, medians

from pytorch_ext import weight_gradients
from snakelm.training.launch import restart_with_environment

SHAPES = {"default": (256, 512), "4x256": (256, 768), "30m": (512, 1536)}  # width, hidden size
SETS, TOKENS = 12, 2048
PEAK = torch.randn(2, 1024, 1024).bfloat16().unbind()
Problem = tuple[torch.Tensor, list[torch.Tensor]]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--repeats", type=int, default=36, help="calls a median is taken of")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser.parse_args(argv)


def torchs(x: torch.Tensor, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
    return [(g.t() @ x).float() for g in gradients]


def drawn(width: int, rows: tuple[int, ...]) -> Problem:
    x, *gradients = (torch.randn(TOKENS, n).bfloat16() for n in (width, *rows))
    return x, gradients


def in_turn(call: Callable[..., object], problems: list[Problem]) -> Callable[[], object]:
    following = itertools.cycle(problems)
    return lambda: call(*next(following))


def measure(shape: str, repeats: int) -> list[dict]:
    width, hidden = SHAPES[shape]
    groups = {
        "q, k, v": (width, (width, width, width)),
        "o": (width, (width,)),
        "gate, up": (width, (hidden, hidden)),
        "down": (hidden, (width,)),
    }
    made = []
    for name, (columns, rows) in groups.items():
        problems = [drawn(columns, rows) for _ in range(SETS)]
        for one, other in zip(weight_gradients(*problems[0]), torchs(*problems[0]), strict=True):
            if (one - other).abs().max() > 2**-8 * other.abs().max():
                raise SystemExit(f"products.py: {name} differs from torch's; nothing measured")

        sides = {"ours": in_turn(weight_gradients, problems), "torch": in_turn(torchs, problems)}
        seconds = medians({**sides, "peak": lambda: torch.mm(*PEAK)}, "cpu", repeats)
        work = 2e-9 * TOKENS * columns * sum(rows)
        rate = {side: work / seconds[side] for side in sides}
        peak = 2e-9 * 1024**3 / seconds["peak"]
        made.append({"shape": shape, "weights": name, **rate, "peak": peak})
    return made


def main(argv: list[str] | None = None) -> int:
    if argv is None:
        restart_with_environment(sys.argv)
    options = parse(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    about = {"device": cpu_name(), "torch": torch.__version__, "threads": options.threads}
    print(" · ".join(str(x) for x in about.values()))
    print(f"{'shape':>8}{'weights':>10}{'ours':>8}{'torch':>8}{'peak':>8}{'ratio':>8}")

    rows = [row for shape in SHAPES for row in measure(shape, options.repeats)]
    for row in rows:
        print(
            f"{row['shape']:>8}{row['weights']:>10}{row['ours']:>8.0f}{row['torch']:>8.0f}"
            f"{row['peak']:>8.0f}{row['ours'] / row['torch']:>8.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
