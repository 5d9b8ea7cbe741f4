"""How training goes: time and rates, the best so far, the line a person sees."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..files import human_bytes

__all__ = ["Best", "Clock", "done_line", "note", "tuned_line"]

NEXT = "snakemake --cores 8 && snakemake --report"
NEXT_TUNED = "python scripts/analysis/chat.py"


class Best:
    """The lowest of the figure that a run is judged by, and its step."""

    def __init__(self, value: float = float("inf"), step: int = 0) -> None:
        self.value, self.step = value, step
        self.latest: float | None = None

    def see(self, value: float | None, step: int) -> None:
        """Takes an evaluation into account."""
        self.latest = value
        if value is not None and value < self.value:
            self.value, self.step = value, step

    def state(self) -> dict[str, float]:
        """As checkpoints keep it; the figure was always bits per byte when they got their names."""
        return {"bpb": self.value, "step": self.step}

    @classmethod
    def of(cls, state: dict[str, float]) -> "Best":
        """The reverse."""
        return cls(state["bpb"], state["step"])


class Clock:
    """Seconds of this run, earlier parts included, and steps per second without evaluations and
    saves.
    """

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self._before = (seconds, cpu_seconds)
        self._started = (time.monotonic(), time.process_time())
        self.start(0)

    def start(self, step: int) -> None:
        """From here on rates are taken, beginning at ``step``."""
        self._step, self._since, self._rate = step, time.monotonic(), 0.0

    def elapsed(self) -> dict[str, float]:
        """Seconds and CPU-seconds so far, as checkpoints keep them."""
        seconds, cpu_seconds = self._before
        return {
            "seconds": seconds + time.monotonic() - self._started[0],
            "cpu_seconds": cpu_seconds + time.process_time() - self._started[1],
        }

    def rate(self, step: int) -> float:
        """Steps per second since the last `mark`, or before it when there is none since."""
        passed = time.monotonic() - self._since
        return (step - self._step) / passed if step > self._step and passed > 0 else self._rate

    def mark(self, step: int) -> None:
        """Begins the next stretch."""
        rate = self.rate(step)
        self.start(step)
        self._rate = rate

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here counts as elapsed but not for the rate."""
        begun = time.monotonic()
        yield
        self._since += time.monotonic() - begun


def note(row: dict[str, Any], best: Best, judged: str = "val_bpb") -> str:
    """`loss 3.21 | val bpb 1.14 (best 1.13 @400) | …`, from a row of the metrics; ``judged``: what
    ``best`` is of.
    """
    name = judged.replace("_", " ")
    parts = [
        f"{row['tokens'] / 1e6:.2f}M tokens",
        f"loss {row['loss']:.3f}",
        f"{name} {best.latest:.3f} (best {best.value:.3f} @{best.step})"
        if best.latest is not None
        else "",
        f"lr {row['lr']:.1e}",
        f"gnorm {row['grad_norm']:.2f}",
        f"{row['tokens_per_second'] / 1e3:.1f}k tok/s",
        f"MFU {row['mfu']:.0%}",
        f"mem {human_bytes(_memory_used())}",
        f"epoch {row['epoch']:.2f}",
    ]
    return " | ".join(part for part in parts if part)


def _memory_used() -> int:
    """Most memory used so far, in bytes: the GPU's where there is one, else the process's."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def done_line(result: dict[str, Any], baseline: dict[str, Any] | None, output: str) -> str:
    """The last line: `DONE val bpb 1.08 (clean 1.44; primed compressor 1.11, clean 1.51) · 3m41s ·
    … · next: …`.
    """
    ppmd = (baseline or {}).get("ppmd") or {}
    inside = [
        _rate("clean ", result["val_bpb_clean"]),
        _rate("primed compressor ", ppmd.get("bpb")) + _rate(", clean ", ppmd.get("bpb_clean")),
    ]
    inside = "; ".join(part for part in inside if part)
    bpb = _rate("", result["val_bpb"]) or "none (no held-out text)"
    return f"DONE val bpb {bpb}{f' ({inside})' if inside else ''} · {_took(result)} · {output} · next: {NEXT}"


def tuned_line(result: dict[str, Any], output: str) -> str:
    """The last line of tuning: `DONE held-out answers 5.21 → 1.08 nats a token · 0m41s · … · next:
    …`.
    """
    answers = f"{result['val_loss_before']:.3f} → {result['val_loss']:.3f} nats a token"
    return f"DONE held-out answers {answers} · {_took(result)} · {output} · next: {NEXT_TUNED}"


def _took(result: dict[str, Any]) -> str:
    seconds = round(result["seconds"])
    return f"{seconds // 60}m{seconds % 60:02d}s"


def _rate(name: str, bpb: float | None) -> str:
    return "" if bpb is None else f"{name}{bpb:.3f}"
