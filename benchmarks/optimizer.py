"""The optimizer's step and its Newton–Schulz iteration against plain torch:
`python benchmarks/optimizer.py [--threads N] [--json FILE]`.

    orthogonalize   pytorch_ext.orthogonalize of a model's matrices, shape by shape, against
                    Jordan's five steps in batched products of --dtype
    step            norm, clipping, both optimizers and the working copies of the weights, against
                    torch's norm, its clipping, its fused AdamW, Muon in torch operations and casts;
                    a model in fp32 has no working copies

Both sides run in this process, in turn, with the allocator's settings of training. Singular values
of both iterations are compared before anything is timed. Figures are medians of CPU time (wall time
with several threads); a ratio above 1 means that ours took less.
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from attn import DTYPES, cpu_name, medians
from train import SHAPES, model_of

from pytorch_ext import library, orthogonalize, total_norm
from pytorch_ext.dispatch import LEVELS
from snakelm.config import load_config
from snakelm.device import multiplies_bf16
from snakelm.model import Decoder
from snakelm.model.working_copies import working_copy
from snakelm.training.launch import restart_with_environment
from snakelm.training.optimizer import Optimizer

JORDAN, JORDAN_STEPS = (3.4445, -4.7750, 2.0315), 5
MOMENTUM, CLIP = 0.95, 1.0
COLUMNS = f"{'shape':>12}{'what':>26}{'ours ms':>10}{'plain ms':>10}{'ratio':>7}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "--shapes", nargs="+", choices=SHAPES, default=["default", "4x256", "30m", "124m"]
    )
    native = "bf16" if multiplies_bf16(torch.device("cpu")) else "fp32"
    parser.add_argument("--dtype", choices=DTYPES, default=native, help=f"here {native}")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--repeats", type=int, default=9, help="measurements of a median")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser.parse_args(argv)


def jordans(g_GMN: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Five steps of one quintic (Jordan et al., 2024) in ``dtype``."""
    a, b, c = JORDAN
    tall = g_GMN.shape[1] > g_GMN.shape[2]
    x = g_GMN.to(dtype)
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) * 1.02 + 1e-7)
    for _ in range(JORDAN_STEPS):
        gram_GKK = torch.bmm(x, x.mT)
        polynomial_GKK = torch.baddbmm(gram_GKK, gram_GKK, gram_GKK, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial_GKK, x, beta=a)
    return x.mT if tall else x


def decoder(shape: str) -> Decoder:
    model = Decoder(model_of(SHAPES[shape]), SHAPES[shape].vocabulary)
    return model.initialize(torch.Generator().manual_seed(1))


class Plain:
    """The step in torch operations."""

    def __init__(self, optimizer: Optimizer, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.groups, self.parameters = optimizer.muon.groups, optimizer.parameters
        self.momentum_GMN = copy.deepcopy(optimizer.muon.momentum_GMN)
        groups = [{"params": g["params"], "lr": g["lr"]} for g in optimizer.adamw.param_groups]
        self.adamw = torch.optim.AdamW(
            groups, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0, fused=True
        )

    @torch.no_grad()
    def step(self) -> None:
        gradients = [p.grad for p in self.parameters]
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        torch.nn.utils.clip_grads_with_norm_(self.parameters, CLIP, norm, foreach=True)
        self.adamw.step()
        for shape, group in self.groups.items():
            g_GMN = torch.stack([p.grad for p in group])
            self.momentum_GMN[shape].lerp_(g_GMN, 1 - MOMENTUM)
            update_GMN = jordans(g_GMN.lerp_(self.momentum_GMN[shape], MOMENTUM), self.dtype)
            for p, update in zip(group, update_GMN.unbind(), strict=True):
                p.add_(update, alpha=-0.01)
        for p in self.parameters:
            p.to(self.dtype)


def ours(optimizer: Optimizer, dtype: torch.dtype) -> None:
    gradients = [p.grad for p in optimizer.parameters]
    norm = total_norm(gradients).item()
    optimizer.step(0.1, MOMENTUM, min(1.0, CLIP / (norm + 1e-6)))
    for p, gradient in zip(optimizer.parameters, gradients, strict=True):
        p.grad = gradient
        working_copy(p, dtype)


def check_agreement(x_GMN: torch.Tensor, dtype: torch.dtype) -> None:
    """A benchmark of different results would be worthless: the same singular vectors, all but small
    singular values near one.
    """
    a, b = orthogonalize(x_GMN)[0].double(), jordans(x_GMN, dtype)[0].double()
    cosine = (a * b).sum() / (a.norm() * b.norm())
    if cosine < 0.95:
        raise SystemExit(f"optimizer.py: cosine {cosine:.3f} between both; nothing measured")


def measure(shape: str, dtype: torch.dtype, repeats: int) -> list[dict]:
    model = decoder(shape)
    optimizer = Optimizer(model, load_config([]).train)
    generator = torch.Generator().manual_seed(2)
    for p in optimizer.parameters:
        p.grad = torch.randn(p.shape, generator=generator) * 1e-3
        working_copy(p, dtype)

    cases: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
    for (m, n), group in optimizer.muon.groups.items():
        x_GMN = torch.stack([p.grad for p in group]).bfloat16()
        check_agreement(x_GMN, dtype)
        cases[f"orthogonalize {len(group)}x{m}x{n}"] = (
            lambda x=x_GMN: orthogonalize(x),
            lambda x=x_GMN: jordans(x, dtype),
        )
    plain = Plain(optimizer, dtype)
    cases["step"] = (lambda: ours(optimizer, dtype), plain.step)

    rows = []
    for what, (ours_call, plain_call) in cases.items():
        seconds = medians({"ours": ours_call, "plain": plain_call}, "cpu", repeats)
        rows.append(
            {
                "shape": shape,
                "what": what,
                "ours_ms": seconds["ours"] * 1e3,
                "plain_ms": seconds["plain"] * 1e3,
                "ratio": seconds["plain"] / seconds["ours"],
            }
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    if argv is None:
        restart_with_environment(sys.argv)
    options = parse(argv)
    torch.set_num_threads(options.threads)
    about = {
        "device": cpu_name(),
        "torch": torch.__version__,
        "threads": options.threads,
        "ours": f"cpu:{LEVELS[library.LEVELS_HERE[-1]]}",
        "dtype": options.dtype,
    }
    print(" · ".join(str(x) for x in about.values()))
    print(COLUMNS)

    rows = []
    for shape in options.shapes:
        for row in measure(shape, DTYPES[options.dtype], options.repeats):
            rows.append(row)
            print(
                f"{row['shape']:>12}{row['what']:>26}{row['ours_ms']:>10.2f}"
                f"{row['plain_ms']:>10.2f}{row['ratio']:>7.2f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
