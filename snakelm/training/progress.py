"""How far a run is: its counters, its clock, the best evaluation so far, and the lines about it."""

import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict

import torch

from ..files import human_bytes
from .metrics import MetricsRow
from .step import StepResult

__all__ = [
    "Best",
    "Clock",
    "Progress",
    "RunResult",
    "done_line",
    "peak_memory",
    "preference_line",
    "resident_peak",
    "status_line",
    "tuned_line",
]


class RunResult(TypedDict, total=False):
    """The figures of a finished run, as its manifest has them."""

    steps: int
    fingerprint: str
    parameters: int
    val_loss: float
    val_loss_before: float | None  # before the first step; of a run that starts from a model
    val_bpb_before: float | None  # likewise; of pretraining alone
    val_bpb: float | None
    val_bpb_clean: float | None
    val_rewards_accuracies: float  # of preferences alone
    held_out_text: str | None  # digest of the documents it was measured on (`texts_digest`)
    held_out_clean: str | None  # and of the clean ones; of pretraining alone
    seconds: float
    cpu_seconds: float
    device: str
    processes: int
    operators: dict[str, str]  # operator → backend
    continues: dict[str, Any]  # fingerprint and step of the run that it went on from
    regime: dict[str, Any]  # how it treats repeated text (`Regime.record`); pretraining only
    weights_of_step: int  # where the best weights are kept: the step they are of
    processes_from_step: dict[str, int]  # step from which on → processes; of a run that changed
    peak_bytes: int  # resident memory of the process that writes
    gpu_peak_bytes: int
    gpu_watts: float


class Best:
    """The lowest value of the metric that a run is judged by, and its step."""

    def __init__(self, value: float = float("inf"), step: int = 0) -> None:
        self.value, self.step = value, step
        self.latest: float | None = None

    def update(self, value: float | None, step: int) -> None:
        """Takes an evaluation into account; None is a model without held-out text."""
        self.latest = value
        if value is not None and value < self.value:
            self.value, self.step = value, step


class Clock:
    """Seconds of this run, earlier parts included, and steps per second without evaluations and
    saves.
    """

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self._before = (seconds, cpu_seconds)
        self._started = (time.monotonic(), time.process_time())
        self.start(0)

    def start(self, step: int) -> None:
        """Rates are taken from here on, beginning at ``step``."""
        self._step, self._since, self._rate = step, time.monotonic(), 0.0

    def elapsed(self) -> dict[str, float]:
        """Seconds and CPU seconds so far, as checkpoints keep them."""
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


@dataclass
class Progress:
    """The counters of a run: what a checkpoint holds besides weights, optimizer and generator."""

    step: int = 0  # steps done
    skipped: int = 0  # steps in a row, up to this one, that made no update
    evaluated: int = 0  # the step of the last evaluation
    loss_before: float | None = None  # on held-out text before the first step, where measured
    best: Best = field(default_factory=Best)
    clock: Clock = field(default_factory=Clock)
    last: StepResult | None = None
    final: dict[str, Any] | None = None  # figures of the last evaluation, once the run is complete
    processes: dict[str, int] = field(default_factory=dict)  # step from which on → how many
    bpb_before: float | None = None  # as loss_before
    continues: dict[str, Any] | None = None  # the run that it went on from, and after which step

    @classmethod
    def of_checkpoint(cls, saved: Mapping[str, Any]) -> "Progress":
        """As `checkpoint_keys` wrote it."""
        return cls(
            saved["step"],
            saved["skipped"],
            saved["evaluated"],
            saved.get("before"),
            Best(saved["best"]["bpb"], saved["best"]["step"]),
            Clock(**saved["elapsed"]),
            StepResult(**saved["last"]),
            saved["final"],
            dict(saved.get("processes", {"0": 1})),
            saved.get("bpb_before"),
            saved.get("continues"),
        )

    def note_processes(self, count: int, exact: bool, say: Callable[[str], None]) -> None:
        """Takes down that ``count`` processes go on from here; says so where there were others.

        ``exact``: whether their number makes no difference (train.reproducible).
        """
        before = list(self.processes.values())[-1] if self.processes else count
        if not self.processes or before != count:
            self.processes[str(self.step)] = count
        if before != count:
            equal = "to the bit" if exact else "within rounding"
            say(
                f"processes: {count} from here on, {before} before: the same batches, "
                f"results equal {equal}"
            )

    def resumption(self, steps: int) -> str:
        """A line on where the run goes on; where it was merely begun by another one, no resume."""
        if self.continues and self.continues["step"] == self.step:
            before = self.continues["fingerprint"]
            return f"begins after step {self.step} of {steps}, trained by run {before}"
        return f"resumes after step {self.step} of {steps}"

    def took_step(self, result: StepResult, skipped: int) -> None:
        """Counts a step; ``skipped``: steps in a row without an update, this one included."""
        self.last, self.skipped = result, skipped
        self.step += 1

    def saw_evaluation(
        self, figures: Mapping[str, float | None], metric: str, first_compares: bool = True
    ) -> None:
        """Takes the figures of this step into account. Those before the first step may be of more
        text than the others, and then are no rival of theirs.
        """
        if self.step or first_compares:
            self.best.update(figures[metric], self.step)
        self.evaluated = self.step
        if self.step == 0:
            self.loss_before = figures["val_loss"]
            self.bpb_before = figures.get("val_bpb")

    def checkpoint_keys(self) -> dict[str, Any]:
        """Plain types; the step is the checkpoint's own key.

        ``best`` says "bpb" whatever the metric, and "before" is there for fine-tuning alone: so
        checkpoints of earlier versions can be resumed.
        """
        assert self.last is not None, "nothing is saved before the first step"
        return {
            "skipped": self.skipped,
            "evaluated": self.evaluated,
            "best": {"bpb": self.best.value, "step": self.best.step},
            "elapsed": self.clock.elapsed(),
            "last": {**vars(self.last), "stop": False},
            "final": self.final,
            **({} if self.loss_before is None else {"before": self.loss_before}),
            **({} if self.bpb_before is None else {"bpb_before": self.bpb_before}),
            **({} if self.continues is None else {"continues": self.continues}),
            **({} if self.processes == {"0": 1} else {"processes": self.processes}),
        }


def status_line(row: MetricsRow, best: Best, metric: str = "val_bpb") -> str:
    """`1.23M tokens | loss 3.21 | val bpb 1.14 (best 1.13 @400) | …`, behind the progress bar.

    ``metric``: what ``best`` is of.
    """
    parts = [f"{(row.tokens or 0) / 1e6:.2f}M tokens", f"loss {row.loss:.3f}"]
    if best.latest is not None:
        name = metric.replace("_", " ")
        parts.append(f"{name} {best.latest:.3f} (best {best.value:.3f} @{best.step})")
    parts += [
        f"lr {row.lr:.1e}",
        f"gnorm {row.grad_norm:.2f}",
        f"{(row.tokens_per_second or 0) / 1e3:.1f}k tok/s",
        f"MFU {row.mfu:.0%}",
        f"mem {human_bytes(peak_memory())}",
        f"epoch {row.epoch:.2f}",
    ]
    return " | ".join(parts)


def peak_memory() -> int:
    """Most memory used so far, in bytes, as the plan counts it: of tensors on the GPU where there
    is one, else resident.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return resident_peak()


def resident_peak() -> int:
    """Most memory that the process has held, in bytes.

    Linux says it in /proc. What getrusage has there is never less than what the process held that
    started this one.
    """
    status = Path("/proc/self/status")
    held = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    if held:
        return int(held[1]) * 1024

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


class BitsPerByte(Protocol):
    """What a compressor makes of the held-out documents."""

    @property
    def bpb(self) -> float | None:
        """Of all documents."""

    @property
    def bpb_clean(self) -> float | None:
        """Of those without copies in the training text."""


def done_line(result: RunResult, compressor: BitsPerByte | None, output: Path) -> str:
    """The last line of pretraining: `DONE val bpb 1.08 (clean 1.44; primed compressor 1.11, clean
    1.51) · 3m41s · …`. ``compressor``: PPMd's rates of tables/baseline.json, where there are some.
    """
    held_against = ""
    if compressor is not None:
        held_against = _figure("primed compressor ", compressor.bpb)
        held_against += _figure(", clean ", compressor.bpb_clean)
    details = [_figure("clean ", result["val_bpb_clean"]), held_against]
    inside = "; ".join(part for part in details if part)

    bpb = _figure("", result["val_bpb"]) or "none (no held-out text)"
    comparison = f" ({inside})" if inside else ""
    return f"DONE val bpb {bpb}{comparison} · {_duration(result)} · {output}"


def tuned_line(result: RunResult, output: Path) -> str:
    """Fine-tuning's last line: `DONE held-out answers 5.21 → 1.08 nats a token · 0m41s · …`."""
    answers = f"{result['val_loss_before']:.3f} → {result['val_loss']:.3f} nats a token"
    return f"DONE held-out answers {answers} · {_duration(result)} · {output}"


def preference_line(result: RunResult, output: Path) -> str:
    """The last line of learning from preferences: `DONE held-out pairs 78.0% in order, loss 0.693 →
    0.412 · 0m41s · …`.
    """
    in_order = f"{result['val_rewards_accuracies']:.1%} in order"
    loss = f"loss {result['val_loss_before']:.3f} → {result['val_loss']:.3f}"
    return f"DONE held-out {in_order}, {loss} · {_duration(result)} · {output}"


def _duration(result: RunResult) -> str:
    seconds = round(result["seconds"])
    return f"{seconds // 60}m{seconds % 60:02d}s"


def _figure(name: str, bpb: float | None) -> str:
    return "" if bpb is None else f"{name}{bpb:.3f}"
