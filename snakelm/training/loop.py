"""One run of training from top to bottom, whatever it trains on: plan, resume, step, evaluate,
save, write the model.

What decides the result makes the run's fingerprint, and with it the folder of its checkpoints. A
run that was ended and started again, in whatever way and however often, ends with the bytes of one
that never stopped (on the same kind of machine, with the same number of threads).

Pretraining (trainer.py) and instruction tuning (tuning.py) say what differs: batches, first
weights, what is measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..config import Config, Model, Train
from ..errors import Interrupted
from ..log import Log
from ..model import Decoder, model_size, save_model
from ..tokenizer import Tokenizer
from ..workflow.lock import locked
from ..workflow.signals import StopRequest
from . import checkpoint
from .batches import Stream
from .device import choose_place, choose_threads, pays_to_compile, peak_flops
from .distributed import World
from .metrics import NOTHING, Kind, Metrics
from .optimizer import Optimizer
from .preflight import Plan, check_attention
from .progress import Best, Clock, note
from .step import StepResult, check_skips, training_step

__all__ = ["Run"]


class Run:
    """What stays the same over a run's steps, and its few counters.

    A subclass sets, in its __init__, ``training``, ``batches``, ``shape`` and ``fingerprint``, and
    gives the methods that raise NotImplementedError here.
    """

    kind: Kind
    evaluates_start = False  # whether held-out text is measured before the first step too
    chat = False  # whether the model's chat tokens are trained
    training: Train
    batches: Stream
    shape: Model
    fingerprint: str

    def __init__(
        self, config: Config, paths: Any, log: Log, world: World, stop: StopRequest
    ) -> None:
        self.config, self.paths, self.log = config, paths, log
        self.world, self.stop = world, stop
        self.tokenizer = Tokenizer.load(paths.tokenizer)
        self.step, self.skipped, self.evaluated = 0, 0, -1 if self.evaluates_start else 0
        self.best, self.clock = Best(), Clock()
        self.last: StepResult | None = None
        self.final: dict[str, Any] | None = None

    @classmethod
    def start(cls, config: Config, paths: Any, log: Log, threads: int | None) -> dict[str, Any]:
        """Begins or goes on, and writes ``paths.output``; gives the figures of the finished run.

        ``threads``: at most so many; None for all that are free. Raises UserError for what a person
        can mend, Interrupted when a signal ended it after its state was saved. Under torchrun every
        process calls this; rank 0 writes.
        """
        world = World.join(config.train.device)
        try:
            with StopRequest() as stop:
                run = cls(config, paths, log, world, stop)
                with run.sole_writer():
                    return run.go(threads)
        finally:
            world.leave()

    def make_plan(self) -> Plan:
        """What the run will take; UserError for sizes that can't work."""
        raise NotImplementedError

    def new_model(self, state: dict[str, Any] | None) -> Decoder:
        """The model with the weights of ``state``, or with those before the first step."""
        raise NotImplementedError

    def held_out(self, done: bool) -> dict[str, Any] | None:
        """Figures on held-out text, by column, the one that is judged by first; None when a signal
        came in between.
        """
        raise NotImplementedError

    def sample(self) -> None:
        """Writes what the model says now; called where metrics are written."""
        raise NotImplementedError

    def finished_model(self) -> Decoder:
        """The model as its file has it."""
        return self.model

    @property
    def folder(self) -> Path:
        """Where the run's checkpoints and its record are."""
        return self.paths.run_root / self.fingerprint

    @contextmanager
    def sole_writer(self) -> Iterator[None]:
        """The lock on the run folders, held by the process that writes."""
        if not self.world.writes:
            yield
            return
        with locked(self.paths.run_root):
            self.folder.mkdir(exist_ok=True)
            yield

    def go(self, threads: int | None) -> dict[str, Any]:
        """Everything, from the newest checkpoint to the model's file; gives the figures of the
        finished run.
        """
        state = checkpoint.load_newest(self.folder, self.fingerprint, self.log.warn, self.kind.stem)
        if state and state["final"]:
            self.log.say(f"run {self.fingerprint} is complete: its last checkpoint is taken")
            self.model, self.step, self.final = self.new_model(state), state["step"], state["final"]
            Metrics(self.folder, self.paths.logs, self.step, self.kind, board=False)
        else:
            self._prepare(state, threads)
            with self.log.progress(self.training.steps, "steps") as self.bar:
                self._steps()
        return self._finish()

    def _prepare(self, state: dict[str, Any] | None, threads: int | None) -> None:
        """Device, model, optimizer, metrics: from ``state``, or from the beginning."""
        training, world = self.training, self.world
        began_with = state["threads"] if state else None
        count = choose_threads(threads, began_with, world.size, self.log.warn)
        self.place = choose_place(training, count, world.local_rank)
        backend = None if training.attention == "auto" else training.attention
        check_attention(self.place, backend)
        self.peak, source = peak_flops(self.place)
        self.plan = self.make_plan()
        processes = f", {world.size} processes" if world.size > 1 else ""
        of = f"MFU is of {self.peak / 1e9:,.0f} GFLOP/s ({source})"
        self.log.say(self.plan.words())
        self.log.say(f"run {self.fingerprint} on {self.place.words}{processes}; {of}")
        torch.manual_seed(self.config.seed)
        self.model = self.new_model(state).to(self.place.device)
        self.model.compute_dtype, self.model.attention_backend = self.place.dtype, backend
        self.optimizer = Optimizer(self.model, training)
        if state:
            self._resume(state)
        kept = self.step if state else NOTHING
        self.metrics = (
            Metrics(self.folder, self.paths.logs, kept, self.kind) if world.writes else None
        )
        self.forward = self._compiled()

    def _resume(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.step, self.skipped, self.evaluated = (
            state["step"],
            state["skipped"],
            state["evaluated"],
        )
        self.best, self.clock = Best.of(state["best"]), Clock(**state["elapsed"])
        self.last = StepResult(**state["last"])
        self.log.say(f"resumes after step {self.step} of {self.training.steps}")

    def _compiled(self) -> Any:
        """The forward pass, through torch.compile where that pays."""
        if not pays_to_compile(self.training.compile, self.place, self.plan.flops):
            return self.model
        self.log.say("compiling: the first step waits for it, half a minute or more")
        return torch.compile(self.model)

    def _steps(self) -> None:
        training, saved = self.training, self.step
        self.clock.start(self.step)
        while True:
            done = self.step == training.steps
            due = (done or self.step % training.eval_every == 0) and self.evaluated != self.step
            stopped = self.last is not None and self.last.stop
            if due and not stopped:
                stopped = not self._evaluate()
            elif not due and self.step != saved and self.step % training.log_every == 0:
                self._record()
            if self.step != saved and (done or stopped or self.step % training.save_every == 0):
                self._save()
                saved = self.step
            if stopped:
                what = (
                    f"saved step {self.step}; resume"
                    if self.step
                    else "stopped before the first step; begin again"
                )
                raise Interrupted(f"{what}: the same command")
            if done:
                return
            self._one_step()

    def _one_step(self) -> None:
        step, training, world, stop = (
            self.step,
            self.training,
            self.world,
            lambda: self.stop.requested,
        )
        rows, targets = self.batches.rows(step, world.rank, world.size), self.batches.targets(step)
        self.last = training_step(
            step, self.forward, self.optimizer, rows, targets, training, world, stop
        )
        self.step += 1
        self.skipped = check_skips(self.last, self.step, self.skipped, training, self.kind.section)
        if self.skipped:
            self.log.warn(
                f"step {self.step}: loss or gradient is no number; no update ({self.skipped} in a row)"
            )
        self.bar.update(self.step, note(self._row(), self.best, self.kind.judged))

    def _row(self) -> dict[str, Any]:
        tokens, last = self.batches.tokens(self.step), self.last
        rate = self.clock.rate(self.step) * tokens / max(1, self.step)
        return {
            "step": self.step,
            "tokens": tokens,
            "epoch": self.batches.epoch(self.step),
            **({"loss": last.loss, "lr": last.lr, "grad_norm": last.grad_norm} if last else {}),
            "tokens_per_second": rate,
            "mfu": rate * self.plan.counts.flops_per_token / (self.peak * self.world.size),
            **self.clock.elapsed(),
        }

    def _record(self) -> None:
        if self.metrics:
            self.metrics.row(**self._row())
        self.clock.mark(self.step)

    def _evaluate(self) -> bool:
        """Evaluates, records, samples; false when a signal came in between."""
        done, row_so_far = self.step == self.training.steps, self._row()
        with self.clock.paused():
            found = self.held_out(done)
            if found is None:
                return False
            self.best.see(found[self.kind.judged], self.step)
            self.evaluated = self.step
            if self.metrics:
                self.metrics.row(**row_so_far, **found)
                self.sample()
        self.clock.mark(self.step)
        if done:
            self.final = {**found, **self.clock.elapsed(), **self.place.record(self.world.size)}
        return True

    def _save(self) -> None:
        if self.world.writes:
            with self.clock.paused():
                state = self.state()
                checkpoint.save(
                    self.folder,
                    self.step,
                    self.fingerprint,
                    state,
                    self.training.keep,
                    self.kind.stem,
                )
        self.world.wait()

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: plain types and tensors."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "threads": self.place.threads,
            "skipped": self.skipped,
            "evaluated": self.evaluated,
            "best": self.best.state(),
            "elapsed": self.clock.elapsed(),
            "last": {**asdict(self.last), "stop": False},
            "final": self.final,
        }

    def _finish(self) -> dict[str, Any]:
        if not self.world.writes:
            return {}
        save_model(
            self.paths.output,
            self.finished_model(),
            tokenizer_sha256=self.tokenizer.sha256,
            step=self.step,
            fingerprint=self.fingerprint,
            chat=self.chat,
        )
        parameters = model_size(self.shape, self.tokenizer.vocab_size).total
        return {
            "steps": self.step,
            "fingerprint": self.fingerprint,
            "parameters": parameters,
            **self.final,
        }
