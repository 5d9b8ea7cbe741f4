"""Attention on a GPU: `python benchmarks/gpu_attention.py [--json FILE]`.

Ours by Triton (and by our CUDA kernels, where they are built) against what torch offers for the
same documents, forward and forward + backward, each figure a median of device time. First it checks
that all of them compute the same: values and gradients against float64, NaN that stays in its
document, repeats that have the same bits. Whatever fails there stops it: no figure then.

    causal      SDPA by backend: cuDNN, flash, efficient
    documents   SDPA with a materialised mask, made each time: that is what a step pays
                flex_attention compiled, its block mask made each time, and made once
                varlen_attn where torch has it, cu_seqlens made once on the host

Documents have lengths as web text has them: log-normal, median 450, at most T. TFLOP/s count the
scores that are seen (4 D each forward, 10 D backward), so a mask's wasted work counts against it.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytorch_ext import attention, library

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
Tensors = list[torch.Tensor]
Call = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--tokens", type=int, default=16384, help="B x T (default 16384)")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--kv-heads", type=int, default=None, help="default: as many as --heads")
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--repeats", type=int, default=20)
    return parser.parse_args(argv)


def make_inputs(shape: tuple[int, ...], kv_heads: int, dtype: torch.dtype, seed: int) -> Tensors:
    """q, k, v and a gradient of the output: [B, T, heads, D]."""
    batch, length, heads, dim = shape
    generator = torch.Generator("cuda").manual_seed(seed)
    return [
        torch.randn((batch, length, h, dim), generator=generator, device="cuda").to(dtype)
        for h in (heads, kv_heads, kv_heads, heads)
    ]


def make_row_start(batch: int, length: int, seed: int) -> torch.Tensor:
    """Int32 [B, T]: documents end to end, the last one of a row cut off."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.zeros(batch, length, dtype=torch.int32)
    for row in rows:
        at = 0
        while at < length:
            row[at:] = at
            at += max(1, min(int(450 * 2.7 ** float(torch.randn((), generator=generator))), length))
    return rows.cuda()


def results(call: Call, inputs: Tensors) -> Tensors:
    leaves = [x.detach().requires_grad_() for x in inputs[:3]]
    out = call(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, inputs[3])]


# ---- checks -----------------------------------------------------------------------------------


def ours(backend: str, row_start: torch.Tensor | None) -> Call:
    return lambda q, k, v: attention(q, k, v, row_start=row_start, backend=backend)


def our_backends() -> list[str]:
    return ["triton", "cuda"] if library.HAS_CUDA else ["triton"]


def fail(message: str) -> None:
    raise SystemExit(f"gpu_attention.py: {message}; nothing measured")


def check_values(backend: str, shape: tuple[int, ...], kv_heads: int, dtype: torch.dtype) -> None:
    """The error against float64 is at most twice SDPA's, of gradients three times, as in
    tests/pytorch_ext/test_attention.py.
    """
    inputs = make_inputs(shape, kv_heads, dtype, seed=shape[1])
    window = (torch.arange(shape[1], device="cuda", dtype=torch.int32) - 36).expand(shape[:2])
    for name, row_start in (
        ("causal", None), ("documents", make_row_start(*shape[:2], seed=1)), ("window", window)
    ):  # fmt: skip
        exact = results(ours("reference", row_start), [x.double() for x in inputs])
        found = results(ours(backend, row_start), inputs)
        theirs = results(ours("sdpa", row_start), inputs)
        slack = 8 * torch.finfo(torch.float32).eps * max(float(x.abs().max()) for x in exact)
        for part, a, b, true in zip("oqkv", found, theirs, exact, strict=True):
            error, rule = (float((x.double() - true).abs().max()) for x in (a, b))
            if not error <= (2 if part == "o" else 3) * rule + slack:
                fail(f"{backend} {shape} {dtype} {name} {part}: {error:.1e}, SDPA {rule:.1e}")
        for a, b in zip(found, results(ours(backend, row_start), inputs), strict=True):
            if not torch.equal(a, b):
                fail(f"{backend} {shape} {dtype} {name}: a repeat has other bits")


def check_poison(dtype: torch.dtype, dim: int) -> None:
    """Triton's rule for NaN and infinities, on real tiles."""
    length, first, last = 700, 190, 411
    row_start = torch.zeros(1, length, dtype=torch.int32, device="cuda")
    row_start[:, first:last], row_start[:, last:] = first, last
    clean = make_inputs((1, length, 4, dim), 2, dtype, seed=0)
    intact = results(ours("triton", row_start), clean)
    for poison in (float("nan"), float("inf")):
        sick = [x.clone() for x in clean]
        for x in sick:
            x[:, first:last] = poison
        for a, b in zip(intact, results(ours("triton", row_start), sick), strict=True):
            same = torch.equal(a[:, :first], b[:, :first]) and torch.equal(a[:, last:], b[:, last:])
            if not (same and bool(b[:, first:last].isnan().all())):
                fail(f"{dtype} D {dim}: {poison} in one document changed another")


def check_all() -> None:
    for dtype in DTYPES.values():
        for dim in (16, 40, 64, 96, 128):
            for length in (1, 17, 127, 128, 129, 1023):
                for backend in our_backends():
                    check_values(backend, (2, length, 4, dim), 2, dtype)
            check_poison(dtype, dim)
        check_values("triton", (1, 300, 2, 256), 1, dtype)
    print("checks passed: values, gradients, repeats, poisoned documents")


# ---- rivals -----------------------------------------------------------------------------------


def sdpa(backend: str | None, grouped: bool, mask: Callable[[], torch.Tensor] | None) -> Call:
    """By one backend, or by torch's choice; the mask is made in each call."""

    def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        allowed = list(BACKENDS.values()) if backend is None else [BACKENDS[backend]]
        given = None if mask is None else mask()
        with sdpa_kernel(allowed):
            return torch.nn.functional.scaled_dot_product_attention(
                *(x.transpose(1, 2) for x in (q, k, v)),
                attn_mask=given, is_causal=given is None, enable_gqa=grouped,
            ).transpose(1, 2)  # fmt: skip

    return call


def flex(row_start: torch.Tensor, grouped: bool, once: bool) -> Call:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    compiled, build = torch.compile(flex_attention), torch.compile(create_block_mask)
    batch, length = row_start.shape

    def seen(b, h, query, key):
        return (key <= query) & (key >= row_start[b, query])

    def block_mask():
        return build(seen, batch, None, length, length, device="cuda")

    made = block_mask() if once else None

    def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        mask = made if made is not None else block_mask()
        return compiled(q, k, v, block_mask=mask, enable_gqa=grouped).transpose(1, 2)

    return call


def varlen(row_start: torch.Tensor, grouped: bool) -> Call:
    """torch.nn.attention.varlen: documents end to end over all rows of the batch."""
    from torch.nn.attention.varlen import varlen_attn

    batch, length = row_start.shape
    begins = row_start == torch.arange(length, device="cuda")
    starts = begins.flatten().nonzero().flatten()
    ends = torch.cat((starts, starts.new_tensor([batch * length]))).to(torch.int32)
    longest = int(ends.diff().max())

    def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        flat = (x.flatten(0, 1) for x in (q, k, v))
        made = varlen_attn(
            *flat, ends, ends, longest, longest, window_size=(-1, 0), enable_gqa=grouped
        )
        return made.unflatten(0, (batch, length))

    return call


def visible(row_start: torch.Tensor) -> torch.Tensor:
    """Bool [B, 1, T, T]."""
    position = torch.arange(row_start.shape[1], device="cuda")
    causal = position <= position[:, None]
    return (causal & (position >= row_start[:, :, None]))[:, None]


def calls_of(row_start: torch.Tensor | None, grouped: bool) -> dict[str, Callable[[], Call]]:
    """Name to what makes the call; making or calling it may raise where torch has no such thing."""
    calls: dict[str, Callable[[], Call]] = {
        f"ours {name}": lambda name=name: ours(name, row_start) for name in our_backends()
    }
    if row_start is None:
        for name in BACKENDS:
            calls[f"SDPA {name}"] = lambda name=name: sdpa(name, grouped, None)
        return calls
    calls["SDPA mask"] = lambda: sdpa(None, grouped, lambda: visible(row_start))
    calls["flex, mask each time"] = lambda: flex(row_start, grouped, once=False)
    calls["flex, mask once"] = lambda: flex(row_start, grouped, once=True)
    calls["varlen_attn"] = lambda: varlen(row_start, grouped)
    return calls


# ---- measurement ------------------------------------------------------------------------------


def seconds(call: Callable[[], object]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def agreeing(made: dict[str, Callable[[], Call]], inputs: Tensors) -> dict[str, Call]:
    """Those that run here; one that computes something else stops all."""
    calls: dict[str, Call] = {}
    expected = None
    for name, make in made.items():
        try:
            call = make()
            found = [x.float() for x in results(call, inputs)]
        except (RuntimeError, ImportError, TypeError, NotImplementedError) as error:
            print(f"    {name}: not here: {str(error).splitlines()[0][:90]}")
            continue
        expected = expected or found
        for a, b in zip(found, expected, strict=True):
            if not torch.allclose(a, b, rtol=0.05, atol=0.02 * float(b.abs().max())):
                fail(f"{name} and the first differ by {float((a - b).abs().max()):.1e}")
        calls[name] = call
    return calls


def measure(options: argparse.Namespace, length: int, dim: int, packed: bool) -> list[dict]:
    batch, kv_heads = max(1, options.tokens // length), options.kv_heads or options.heads
    shape = (batch, length, options.heads, dim)
    inputs = make_inputs(shape, kv_heads, DTYPES[options.dtype], seed=0)
    row_start = make_row_start(batch, length, seed=0) if packed else None
    calls = agreeing(calls_of(row_start, kv_heads != options.heads), inputs)
    seen = torch.arange(1, length + 1, device="cuda").expand(batch, -1).double()
    pairs = float((seen if row_start is None else seen - row_start).sum()) * options.heads

    rows: list[dict] = []
    for kind, flops in (("forward", 4), ("forward + backward", 14)):
        run = {
            name: (lambda call=call: call(*inputs[:3]))
            if kind == "forward"
            else (lambda call=call: results(call, inputs))
            for name, call in calls.items()
        }
        for call in run.values():
            call()  # warm
        rounds = [  # in turn, so that a slow moment hits all of them
            {name: seconds(call) for name, call in run.items()} for _ in range(options.repeats)
        ]
        for name in run:
            median = statistics.median(one[name] for one in rounds)
            rows.append({
                "mask": "documents" if packed else "causal", "T": length, "D": dim, "pass": kind,
                "who": name, "ms": median * 1e3, "tflops": pairs * flops * dim / median / 1e12,
            })  # fmt: skip
    return rows


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if not torch.cuda.is_available():
        raise SystemExit("gpu_attention.py: needs a GPU; benchmarks/attn.py measures the CPU")
    about = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "dtype": options.dtype,
        "heads": options.heads,
        "kv_heads": options.kv_heads or options.heads,
        "tokens": options.tokens,
        "repeats": options.repeats,
    }
    for key, value in about.items():
        print(f"{key:>20}: {value}")
    check_all()

    rows: list[dict] = []
    for dim in options.dims:
        for length in options.lengths:
            for packed in (False, True):
                for row in measure(options, length, dim, packed):
                    rows.append(row)
                    print(
                        f"{row['mask']:>10} D {dim:3} T {length:5} {row['pass']:>18} "
                        f"{row['who']:>21} {row['ms']:8.3f} ms {row['tflops']:6.1f} TFLOP/s",
                        flush=True,
                    )
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
