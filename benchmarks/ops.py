"""Operators against plain torch: `python benchmarks/ops.py [--threads N] [--json FILE]`.

Both sides run in this process, in turn, on the same tensors, with the allocator's settings that
training has (this script starts itself once more for them); results are compared before anything is
timed. Each figure is the median of CPU time, of one call forward and backward, and of one forward.
Plain torch is each operator's reference, eager: what a model written in torch does. A ratio above 1
means that ours took less time.
"""

import argparse
import ctypes
import functools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from attn import DTYPES, cpu_name, medians

from pytorch_ext import library, linear_cross_entropy, qk_norm_rope, rms_norm, rope, swiglu
from pytorch_ext.dispatch import LEVELS
from snakelm.training.launch import restart_with_environment

WIDTHS = {"default": (256, 512, 4, 256), "4x256": (256, 768, 4, 512), "30m": (512, 1536, 8, 512)}
COLUMNS = (
    "op",
    "dtype",
    "shape",
    "pass",
    "ours ms",
    "plain ms",
    "ratio",
    "GB/s",
    "ours MB",
    "plain MB",
)
CELLS = (14, 5, 8, 8, 9, 9, 6, 6, 8, 8)
Call = Callable[[str], tuple[torch.Tensor, ...]]


class Case(NamedTuple):
    """`call(backend)` -> outputs; their gradients are taken by `leaves`."""

    op: str
    call: Call
    leaves: list[torch.Tensor]
    moved: int | None  # numbers read and written, forward and backward, each once; None: products


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--shapes", nargs="+", choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["bf16", "fp32"])
    parser.add_argument("--tokens", type=int, default=2048, help="rows (default 2048)")
    parser.add_argument(
        "--repeats", type=int, default=15, help="measurements a median is taken of (default 15)"
    )
    return parser.parse_args(argv)


def cases(shape: str, tokens: int, dtype: torch.dtype) -> list[Case]:
    """Every operator at the sizes that a model of this shape gives it."""
    width, hidden, heads, length = WIDTHS[shape]
    rows, dim = max(1, tokens // length), width // heads
    generator = torch.Generator().manual_seed(1)

    def draw(*size: int, kind: torch.dtype = dtype) -> torch.Tensor:
        return torch.randn(size, generator=generator).to(kind).requires_grad_()

    x, residual = draw(rows, length, width), draw(rows, length, width)
    gain, q_gain, k_gain = (draw(n, kind=torch.float32) for n in (width, dim, dim))
    q, k = draw(rows, length, heads, dim), draw(rows, length, heads, dim)
    gate, up = draw(rows, length, hidden), draw(rows, length, hidden)
    angle = torch.arange(length)[:, None] * 1e4 ** -(torch.arange(dim // 2) / (dim // 2))
    cos, sin = angle.cos(), angle.sin()
    n, m = x.numel(), gate.numel()
    return [
        Case("rms_norm", lambda b: (rms_norm(x, gain, backend=b),), [x, gain], 5 * n),
        Case(
            "add + rms_norm",
            lambda b: rms_norm(x, gain, residual=residual, backend=b),
            [x, residual, gain],
            8 * n,
        ),
        Case(
            "qk_norm_rope",
            lambda b: qk_norm_rope(q, k, q_gain, k_gain, cos, sin, backend=b),
            [q, k, q_gain, k_gain],
            10 * n,
        ),
        Case("rope", lambda b: (rope(q, cos, sin, backend=b),), [q], 4 * n),
        Case("swiglu", lambda b: (swiglu(gate, up, backend=b),), [gate, up], 8 * m),
    ]


def loss_cases(shape: str, tokens: int, dtype: torch.dtype) -> list[Case]:
    """The loss of a linear head; plain torch's holds the logits in dtype and float32."""
    width = WIDTHS[shape][0]
    generator = torch.Generator().manual_seed(1)

    def case(vocabulary: int) -> Case:
        x = torch.randn(tokens, width, generator=generator).to(dtype).requires_grad_()
        head = (torch.randn(vocabulary, width, generator=generator) * 0.1).to(dtype)
        head.requires_grad_()
        target = torch.randint(vocabulary, (tokens,), generator=generator)
        return Case(
            f"loss, V {vocabulary >> 10}k",
            lambda b: (linear_cross_entropy(x, head, target, backend=b),),
            [x, head],
            None,
        )

    return [case(8192), case(32768)]


def peak_megabytes(run: Callable[[], object]) -> float:
    """Memory that a call takes beyond what it leaves, resident, by Linux's own count; the thread's
    workspace, which stays, counts only when it is first made.
    """

    def resident(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))

    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, kept = resident("VmRSS"), run()
    left = sum(x.numel() * x.element_size() for x in kept) if isinstance(kept, list) else 0
    return max(0, resident("VmHWM") - before - left) / 1e6


def both(case: Case, backend: str, grads: list[torch.Tensor]) -> list[torch.Tensor]:
    """Outputs and gradients."""
    outputs = case.call(backend)
    return [*outputs, *torch.autograd.grad(outputs, case.leaves, grads)]


def forward(case: Case, backend: str) -> None:
    with torch.no_grad():
        case.call(backend)


def check_agreement(case: Case, dtype: str, grads: list[torch.Tensor]) -> None:
    """A benchmark of different results would be worthless."""
    ours, plain = (both(case, backend, grads) for backend in ("cpu", "reference"))
    for a, b in zip(ours, plain, strict=True):
        worst = (a.float() - b.float()).abs().max().item() / b.float().abs().max().item()
        if worst > (1e-5 if dtype == "fp32" else 1e-2):
            raise SystemExit(
                f"ops.py: {case.op} and plain torch differ by {worst:.1e} of the "
                "largest; nothing measured"
            )


def measure(options: argparse.Namespace, shape: str, dtype: str) -> list[dict]:
    # Torch imports 37 MB with the first derivative that it takes of given gradients.
    some = torch.ones(1, requires_grad=True)
    torch.autograd.grad([some * 2], [some], [torch.ones(1)])

    rows = []
    made = (f(shape, options.tokens, DTYPES[dtype]) for f in (loss_cases, cases))
    for case in (case for group in made for case in group):
        with torch.no_grad():
            grads = [torch.randn_like(x) for x in case.call("cpu")]
        megabytes = {}
        if case.moved is None:  # before anything has warmed a workspace of this size
            for side, b in (("ours", "cpu"), ("plain", "reference")):
                megabytes[side] = peak_megabytes(functools.partial(both, case, b, grads))
        check_agreement(case, dtype, grads)
        sides = {"ours": "cpu", "plain": "reference"}
        for name, run in (
            ("forward", lambda b, case=case: forward(case, b)),
            ("f+b", lambda b, case=case, grads=grads: both(case, b, grads)),
        ):
            calls = {side: lambda b=b, run=run: run(b) for side, b in sides.items()}
            seconds = medians(calls, "cpu", options.repeats)
            moved = None
            if name == "f+b" and case.moved is not None:
                moved = case.moved * DTYPES[dtype].itemsize
            rows.append(
                {
                    "op": case.op,
                    "dtype": dtype,
                    "shape": shape,
                    "pass": name,
                    "ours_ms": seconds["ours"] * 1e3,
                    "plain_ms": seconds["plain"] * 1e3,
                    "ratio": seconds["plain"] / seconds["ours"],
                    "gbytes_per_s": moved and moved / seconds["ours"] / 1e9,
                    "ours_mb": megabytes.get("ours") if name == "f+b" else None,
                    "plain_mb": megabytes.get("plain") if name == "f+b" else None,
                }
            )
    return rows


def show(row: dict) -> str:
    rate = row["gbytes_per_s"]
    cells = (
        row["op"],
        row["dtype"],
        row["shape"],
        row["pass"],
        f"{row['ours_ms']:.2f}",
        f"{row['plain_ms']:.2f}",
        f"{row['ratio']:.2f}",
        f"{rate:.1f}" if rate else "",
        *(f"{row[key]:.1f}" if row[key] is not None else "" for key in ("ours_mb", "plain_mb")),
    )
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, CELLS, strict=True))


def print_and_save(
    options: argparse.Namespace,
    about: dict,
    columns: Sequence[str],
    cells: Sequence[int],
    measure: Callable[[argparse.Namespace, str, str], Iterable[dict]],
    show: Callable[[dict], str],
) -> None:
    """The rows of every shape and dtype as they are measured, and all of them as --json."""
    for key, value in about.items():
        print(f"{key:>20}: {value}")
    print("  ".join(name.rjust(width) for name, width in zip(columns, cells, strict=True)))

    rows = []
    for shape in options.shapes:
        for dtype in options.dtypes:
            for row in measure(options, shape, dtype):
                rows.append(row)
                print(show(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    if argv is None:
        restart_with_environment(sys.argv)
    options = parse(argv)
    torch.set_num_threads(options.threads)
    about = {
        "device": cpu_name(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "ours": f"cpu:{LEVELS[library.LEVELS_HERE[-1]]}",
        "tokens": options.tokens,
        "repeats": options.repeats,
    }
    print_and_save(options, about, COLUMNS, CELLS, measure, show)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
