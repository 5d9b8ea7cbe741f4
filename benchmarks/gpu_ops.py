"""Operators on a GPU against plain torch and torch.compile: `python benchmarks/gpu_ops.py [--json
FILE]`.

Ours is what each operator takes on the device by itself. All sides run in this process, in turn, on
the same tensors; outputs and gradients are compared before anything is timed. Each figure is the
median of device time of one call forward and backward. Plain torch is the operator's reference, and
torch.compile compiles just that. GB/s counts each number that has to be read or written once.
"""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from attn import DTYPES, medians
from ops import print_and_save

from pytorch_ext import linear_cross_entropy, qk_norm_rope, rms_norm, swiglu

# (width, hidden, heads of q, heads of k, length, vocabulary)
SHAPES = {
    "30m": (512, 1536, 8, 4, 512, 32768),
    "124m": (768, 3072, 12, 12, 1024, 50257),
    "1b": (2048, 5632, 16, 8, 2048, 32768),
}
COLUMNS = ("op", "dtype", "shape", "ours us", "plain us", "ratio", "compile us", "ratio", "GB/s")
CELLS = (20, 5, 5, 9, 9, 6, 10, 6, 6)
Tensors = tuple[torch.Tensor, ...]


class Case(NamedTuple):
    """`call(backend, *leaves)` -> outputs; backend None is the device's own."""

    op: str
    call: Callable[..., Tensors]
    leaves: list[torch.Tensor]
    moved: int | None  # numbers read and written, forward and backward; None where products decide


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--tokens", type=int, default=16384, help="rows (default 16384)")
    parser.add_argument(
        "--repeats", type=int, default=25, help="measurements a median is taken of (default 25)"
    )
    return parser.parse_args(argv)


def cases(shape: str, tokens: int, dtype: torch.dtype, device: str) -> list[Case]:
    """Every operator at the sizes that a model of this shape gives it."""
    width, hidden, heads, kv_heads, length, vocabulary = SHAPES[shape]
    rows, dim = max(1, tokens // length), width // heads
    generator = torch.Generator(device).manual_seed(1)

    def draw(*size: int, kind: torch.dtype = dtype, scale: float = 1.0) -> torch.Tensor:
        drawn = torch.randn(size, generator=generator, device=device) * scale
        return drawn.to(kind).requires_grad_()

    x, residual = draw(rows, length, width), draw(rows, length, width)
    gain, q_gain, k_gain = (draw(n, kind=torch.float32) for n in (width, dim, dim))
    q, k = draw(rows, length, heads, dim), draw(rows, length, kv_heads, dim)
    gate, up = draw(rows, length, hidden), draw(rows, length, hidden)
    pairs = torch.arange(dim // 2, device=device) / (dim // 2)
    angle = torch.arange(length, device=device)[:, None] * 1e4**-pairs
    cos, sin = angle.cos(), angle.sin()
    flat, head = draw(rows * length, width), draw(vocabulary, width, scale=width**-0.5)
    target = torch.randint(vocabulary, (rows * length,), generator=generator, device=device)
    return [
        Case("rms_norm", lambda b, x, w: (rms_norm(x, w, backend=b),), [x, gain], 5 * x.numel()),
        Case(
            "add + rms_norm",
            lambda b, x, r, w: rms_norm(x, w, residual=r, backend=b),
            [x, residual, gain],
            8 * x.numel(),
        ),
        Case(
            "qk_norm_rope",
            lambda b, *tensors: qk_norm_rope(*tensors, cos, sin, backend=b),
            [q, k, q_gain, k_gain],
            5 * (q.numel() + k.numel()),
        ),
        Case("swiglu", lambda b, g, u: (swiglu(g, u, backend=b),), [gate, up], 8 * gate.numel()),
        Case(
            "linear_cross_entropy",
            lambda b, x, w: (linear_cross_entropy(x, w, target, backend=b),),
            [flat, head],
            None,
        ),
    ]


def sides_of(case: Case) -> dict[str, Callable[[], list[torch.Tensor]]]:
    """Name to a call that gives outputs and gradients."""
    torch.compiler.reset()  # or the cases before count as recompilations of this one
    compiled = torch.compile(lambda *leaves: case.call("reference", *leaves), dynamic=False)
    grads = [torch.randn_like(x) for x in case.call(None, *case.leaves)]

    def both(call: Callable[..., Tensors]) -> list[torch.Tensor]:
        outputs = call(*case.leaves)
        return [*outputs, *torch.autograd.grad(outputs, case.leaves, grads)]

    return {
        "ours": lambda: both(lambda *leaves: case.call(None, *leaves)),
        "plain": lambda: both(lambda *leaves: case.call("reference", *leaves)),
        "compile": lambda: both(compiled),
    }


def check_agreement(case: Case, sides: dict[str, Callable[[], list[torch.Tensor]]]) -> None:
    """A benchmark of different results would be worthless."""
    for a, b in zip(sides["ours"](), sides["plain"](), strict=True):
        worst = (a.float() - b.float()).abs().max().item() / b.float().abs().max().item()
        if not worst <= (1e-4 if case.leaves[0].dtype == torch.float32 else 2e-2):
            raise SystemExit(
                f"gpu_ops.py: {case.op} and plain torch differ by {worst:.1e} of the largest; "
                "nothing measured"
            )


def measure(options: argparse.Namespace, shape: str, dtype: str, device: str) -> list[dict]:
    rows = []
    for case in cases(shape, options.tokens, DTYPES[dtype], device):
        sides = sides_of(case)
        check_agreement(case, sides)
        seconds = medians(sides, device, options.repeats)
        moved = case.moved and case.moved * DTYPES[dtype].itemsize
        rows.append(
            {"op": case.op, "dtype": dtype, "shape": shape}
            | {f"{side}_us": value * 1e6 for side, value in seconds.items()}
            | {
                "plain_ratio": seconds["plain"] / seconds["ours"],
                "compile_ratio": seconds["compile"] / seconds["ours"],
                "gbytes_per_s": moved and moved / seconds["ours"] / 1e9,
            }
        )
    return rows


def show(row: dict) -> str:
    cells = (
        row["op"],
        row["dtype"],
        row["shape"],
        f"{row['ours_us']:.0f}",
        f"{row['plain_us']:.0f}",
        f"{row['plain_ratio']:.2f}",
        f"{row['compile_us']:.0f}",
        f"{row['compile_ratio']:.2f}",
        f"{row['gbytes_per_s']:.0f}" if row["gbytes_per_s"] else "",
    )
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, CELLS, strict=True))


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if not torch.cuda.is_available():
        raise SystemExit("gpu_ops.py: torch finds no CUDA device; benchmarks/ops.py is for CPUs")
    about = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "tokens": options.tokens,
        "repeats": options.repeats,
    }
    print_and_save(options, about, COLUMNS, CELLS, functools.partial(measure, device="cuda"), show)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
