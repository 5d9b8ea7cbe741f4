"""Attention against torch's own: `python benchmarks/attn.py [--threads N] [--json FILE]`.

Both sides run in this process, in turn, on the same tensors; each figure is a median. Compared are
    causal      pytorch_ext.attention            | scaled_dot_product_attention(is_causal=True)
    documents   pytorch_ext.attention(row_start) | SDPA with a materialised mask, made once, untimed
                                                 | a causal SDPA call per document and one torch.cat
    --levels    ours at lower instruction sets, each against the best one
    --zentorch  its SDPA where the package is importable; forward only, causal only
SDPA gets its tensors as [B, H, T, D] views of the same [B, T, H, D] memory, which is how a model
calls it. A ratio above 1 means ours took less time. On a CPU the clock is CPU time, on CUDA device
time; the CUDA backend of SDPA is named, since its default differs by version. `of peak` is our rate
over that of a product of two 2,048-square matrices of the same dtype, measured in turn with it;
the causal half counts, backward as 2.5 times forward.
"""

import argparse
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytorch_ext import attention, library
from pytorch_ext.dispatch import LEVELS
from snakelm.training.launch import restart_with_environment

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MASKS = ("causal", "documents")
COLUMNS = ("mask", "dtype", "T", "pass", "ours ms", "GFLOP/s", "of peak", "against", "ms", "ratio")
WIDTHS = (10, 5, 5, 8, 9, 8, 7, 22, 9, 6)
ZENTORCH = "zentorch SDPA"
PEAK_SIDE = 2048  # of the square matrices whose product is the peak


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="default: cuda where there is one"
    )
    parser.add_argument(
        "--tokens", type=int, default=2048, help="B x T of each measurement (default 2048)"
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 512, 1024, 2048], help="T")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--masks", nargs="+", choices=MASKS, default=list(MASKS))
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=[], metavar="LEVEL")
    parser.add_argument("--zentorch", action="store_true", help="compare with zentorch's SDPA too")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=None, help="default: as many as --heads")
    parser.add_argument("--dim", type=int, default=64, help="head dimension (default 64)")
    parser.add_argument(
        "--documents", type=int, default=8, help="documents in each row of a pack (default 8)"
    )
    parser.add_argument(
        "--repeats", type=int, default=9, help="measurements a median is taken of (default 9)"
    )
    return parser.parse_args(argv)


def clock(call: Callable[[], object], device: str) -> float:
    """Seconds of one call: CPU time there (all threads together over their number), device time on
    CUDA.
    """
    if device == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000
    if torch.get_num_threads() > 1:  # a waiting thread burns CPU time too: wall time is honest
        began = time.perf_counter()
        call()
        return time.perf_counter() - began
    began = time.process_time()
    call()
    return time.process_time() - began


def medians(calls: dict[str, Callable[[], object]], device: str, repeats: int) -> dict[str, float]:
    """Median seconds by name. The calls take turns, so that a slow moment of the machine hits all
    of them.
    """
    for call in calls.values():
        call()
    rounds = [{name: clock(call, device) for name, call in calls.items()} for _ in range(repeats)]
    return {name: statistics.median(one[name] for one in rounds) for name in calls}


def document_ends(length: int, documents: int) -> list[int]:
    """Uneven cuts, the same each time: document i gets a share proportional to 1 + i % 3."""
    shares = [1 + i % 3 for i in range(documents)]
    return sorted({length * sum(shares[: i + 1]) // sum(shares) for i in range(documents)} - {0})


def rivals(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    ends: list[int] | None,
    options: argparse.Namespace,
) -> dict[str, Callable[[], torch.Tensor]]:
    """Name to a call that computes the same attention; "ours" first."""

    def sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options) -> torch.Tensor:
        q_BHTD, k_BHTD, v_BHTD = (x.transpose(1, 2) for x in (q, k, v))
        grouped = q.shape[2] != k.shape[2]
        return torch.nn.functional.scaled_dot_product_attention(
            q_BHTD, k_BHTD, v_BHTD, enable_gqa=grouped, **options
        ).transpose(1, 2)

    backend = "cuda" if q.is_cuda else "cpu"
    row_start, mask = (None, None) if ends is None else document_masks(q, ends)
    ours = {"ours": lambda: attention(q, k, v, row_start=row_start, backend=backend)}
    for level in options.levels:
        ours[f"ours {level}"] = functools.partial(
            attention, q, k, v, row_start=row_start, backend=f"cpu:{level}"
        )
    if ends is None:
        theirs = {"SDPA causal": lambda: sdpa(q, k, v, is_causal=True)}
        return ours | theirs | (zentorch_sdpa(q, k, v) if options.zentorch else {})

    cuts = list(zip([0, *ends[:-1]], ends, strict=True))
    return {
        **ours,
        "SDPA materialised mask": lambda: sdpa(q, k, v, attn_mask=mask[None, None]),
        "SDPA loop": lambda: torch.cat(
            [sdpa(q[:, a:b], k[:, a:b], v[:, a:b], is_causal=True) for a, b in cuts], dim=1
        ),
    }


def zentorch_sdpa(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> dict[str, Callable[[], torch.Tensor]]:
    """The operator that zentorch puts in SDPA's place under torch.compile; it has no backward."""

    def call() -> torch.Tensor:
        q_BHTD, k_BHTD, v_BHTD = (x.transpose(1, 2) for x in (q, k, v))
        return torch.ops.zentorch.zentorch_sdpa(q_BHTD, k_BHTD, v_BHTD, 0.0, True)[0].transpose(
            1, 2
        )

    return {ZENTORCH: call}


def document_masks(q: torch.Tensor, ends: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The same documents as row_start (int32 [B, T]) and as a mask (bool [T, T])."""
    position = torch.arange(q.shape[1], device=q.device)
    begins = torch.tensor([0, *ends[:-1]], device=q.device)
    row = begins[torch.searchsorted(begins, position, right=True) - 1].to(torch.int32)
    mask = (position <= position[:, None]) & (position >= row[:, None])
    return row.expand(q.shape[0], -1).contiguous(), mask


def measure(
    options: argparse.Namespace, device: str, dtype: str, length: int, ends: list[int] | None
) -> list[dict]:
    """Rows of forward and forward + backward for one mask, dtype and length."""
    batch = max(1, options.tokens // length)
    kv_heads = options.kv_heads or options.heads
    generator = torch.Generator().manual_seed(length)
    shapes = [
        (batch, length, h, options.dim) for h in (options.heads, kv_heads, kv_heads, options.heads)
    ]
    tensors = [
        torch.randn(shape, generator=generator).to(device, DTYPES[dtype]) for shape in shapes
    ]
    q, k, v = leaves = [x.requires_grad_() for x in tensors[:3]]
    grad = tensors[3].detach()
    calls = rivals(q, k, v, ends, options)
    check_agreement(calls, dtype)
    square = torch.randn(PEAK_SIDE, PEAK_SIDE).to(device, DTYPES[dtype])

    # Score and value products of the visible pairs, two operations a multiply-add; backward has 2.5
    # times as many.
    spans = [b - a for a, b in zip([0, *ends[:-1]], ends, strict=True)] if ends else [length]
    operations = 4 * batch * options.heads * options.dim * sum(n * (n + 1) / 2 for n in spans)

    def forward(call):
        def run():
            with torch.no_grad():
                call()

        return run

    def both(call):
        return lambda: torch.autograd.grad(call(), leaves, grad)

    rows = []
    for name, wrap, factor in (("forward", forward, 1.0), ("f+b", both, 3.5)):
        taken = {k: c for k, c in calls.items() if name == "forward" or k != ZENTORCH}
        timed = {key: wrap(call) for key, call in taken.items()}
        seconds = medians({**timed, "peak": lambda: square @ square}, device, options.repeats)
        ours, peak = seconds.pop("ours"), 2 * PEAK_SIDE**3 / seconds.pop("peak")
        rows += [
            {
                "mask": "documents" if ends else "causal",
                "dtype": dtype,
                "T": length,
                "B": batch,
                "pass": name,
                "ours_ms": ours * 1e3,
                "gflops": operations * factor / ours / 1e9,
                "peak_gflops": peak / 1e9,
                "share_of_peak": operations * factor / ours / peak,
                "against": rival,
                "ms": rival_seconds * 1e3,
                "ratio": rival_seconds / ours,
            }
            for rival, rival_seconds in seconds.items()
        ]
    return rows


def check_agreement(calls: dict[str, Callable[[], torch.Tensor]], dtype: str) -> None:
    """A benchmark of different results would be worthless."""
    with torch.no_grad():
        results = {name: call().float() for name, call in calls.items()}
    for name, result in results.items():
        worst = (result - results["ours"]).abs().max().item()
        if worst > (1e-4 if dtype == "fp32" else 5e-2):
            raise SystemExit(f"attn.py: ours and {name} differ by {worst:.1e}; nothing measured")


def show(row: dict) -> str:
    cells = (
        row["mask"],
        row["dtype"],
        str(row["T"]),
        row["pass"],
        f"{row['ours_ms']:.2f}",
        f"{row['gflops']:.0f}",
        f"{row['share_of_peak']:.0%}",
        row["against"],
        f"{row['ms']:.2f}",
        f"{row['ratio']:.2f}",
    )
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))


def describe(options: argparse.Namespace, device: str) -> dict:
    """What was measured on what, for the head of the table and the JSON."""
    if device == "cuda":
        machine, ours = torch.cuda.get_device_name(), "cuda"
    else:
        machine, ours = cpu_name(), f"cpu:{LEVELS[library.LEVELS_HERE[-1]]}"
    return {
        "device": machine,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "ours": ours,
        "tokens": options.tokens,
        "heads": options.heads,
        "kv_heads": options.kv_heads or options.heads,
        "dim": options.dim,
        "documents": options.documents,
        "repeats": options.repeats,
        "malloc_environment": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
    }


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU"
    )


def cuda_backends() -> dict[str, list[SDPBackend]]:
    """Each SDPA backend by itself: "the default" means another kernel on every version and
    device.
    """
    return {
        "cudnn": [SDPBackend.CUDNN_ATTENTION],
        "flash": [SDPBackend.FLASH_ATTENTION],
        "efficient": [SDPBackend.EFFICIENT_ATTENTION],
    }


def measure_all(options: argparse.Namespace, device: str) -> Iterator[dict]:
    """Rows, as they come; on CUDA once for each backend that takes the case."""
    for length in options.lengths:
        for mask in options.masks:
            ends = document_ends(length, options.documents) if mask == "documents" else None
            for dtype in options.dtypes:
                if device == "cpu":
                    yield from measure(options, device, dtype, length, ends)
                    continue
                for name, backends in cuda_backends().items():
                    try:
                        with sdpa_kernel(backends):
                            rows = measure(options, device, dtype, length, ends)
                    except RuntimeError as error:
                        reason = str(error).splitlines()[0]
                        print(f"  {name} does not take {dtype}, T {length}: {reason}")
                        continue
                    yield from ({**row, "against": f"{row['against']} {name}"} for row in rows)


def find_zentorch() -> bool:
    """Import it if it is here, and say so if not."""
    try:
        import zentorch
    except ImportError as error:
        print(f"attn.py: zentorch is not measured: {error}")
        return False
    print(f"attn.py: zentorch {zentorch.__version__}")
    return True


def main(argv: list[str] | None = None) -> int:
    if argv is None:
        restart_with_environment(sys.argv)
    options = parse(argv)
    torch.set_num_threads(options.threads)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    options.zentorch = options.zentorch and find_zentorch()
    about = describe(options, device)
    for key, value in about.items():
        print(f"{key:>20}: {value}")
    print("  ".join(name.rjust(width) for name, width in zip(COLUMNS, WIDTHS, strict=True)))

    rows = []
    for row in measure_all(options, device):
        rows.append(row)
        print(show(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
