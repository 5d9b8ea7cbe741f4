"""Pretraining from top to bottom: open, plan, resume, step, evaluate, save, write the model.

What decides the result makes the run's fingerprint, and with it the folder of its checkpoints. A run that was ended and
started again, in whatever way and however often, ends with the bytes of one that never stopped (on the same kind of
machine, with the same number of threads).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import Config
from ..data.bins import TokenBin, open_bin
from ..errors import Interrupted, UserError
from ..log import Log
from ..model import Decoder, counts, generate, save_model
from ..tokenizer import Tokenizer
from . import bigrams, checkpoint
from .batches import Batches
from .device import choose_place, choose_threads, peak_flops
from .distributed import World
from .evaluate import Evaluation, evaluate, spread_documents
from .fingerprint import fingerprint
from .lock import locked
from .metrics import Metrics
from .optimizer import Optimizer
from .preflight import check_attention, make_plan
from .show import Best, Clock, note
from .signals import StopRequest
from .step import StepResult, check_skips, training_step

__all__ = ["Paths", "train"]

COMPILE_FROM_FLOPS = 1e15  # on a CPU: below it, compiling costs more than it saves (docs/EXPERIMENTS.md)


@dataclass(frozen=True)
class Paths:
    """What a run reads and where it writes."""

    train_bin: Path
    val_bin: Path
    val_overlap: Path
    tokenizer: Path
    run_root: Path  # run folders, by fingerprint
    output: Path
    logs: Path


def train(config: Config, paths: Paths, log: Log, threads: int | None = None) -> dict[str, Any]:
    """Trains, or goes on training, and writes ``paths.output``; gives the figures of the finished run.

    ``threads``: at most so many; None for all that are free. Raises UserError for what a person can mend, Interrupted
    when a signal ended it after its state was saved. Under torchrun every process calls this; rank 0 writes.
    """
    world = World.join(config.train.device)
    try:
        with StopRequest() as stop:
            run = Run(config, paths, log, world, stop)
            with run.sole_writer():
                return run.go(threads)
    finally:
        world.leave()


class Run:
    """One run: what stays the same over its steps, and its few counters."""

    def __init__(self, config: Config, paths: Paths, log: Log, world: World, stop: StopRequest) -> None:
        self.config, self.paths, self.log, self.world, self.stop = config, paths, log, world, stop
        self.tokenizer = Tokenizer.load(paths.tokenizer)
        sha256 = self.tokenizer.sha256
        self.train_bin = open_bin(paths.train_bin, sha256, verify=world.writes)
        self.val_bin = open_bin(paths.val_bin, sha256, verify=world.writes)
        self.clean = _clean_documents(paths.val_overlap, self.val_bin, config.evaluate.clean_share)
        self.batches = Batches(self.train_bin, config.model.context, config.train.batch_tokens, config.seed)
        self.fingerprint = fingerprint(config, self.train_bin, self.val_bin)
        self.folder = paths.run_root / self.fingerprint
        self.step, self.skipped, self.evaluated = 0, 0, 0  # nothing is evaluated before the first step
        self.best, self.clock = Best(), Clock()
        self.last: StepResult | None = None
        self.final: dict[str, Any] | None = None

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
        """Everything, from the newest checkpoint to the model's file."""
        state = checkpoint.load_newest(self.folder, self.fingerprint, self.log.warn)
        if state and state["final"]:
            self.log.say(f"run {self.fingerprint} is complete: its last checkpoint is taken")
            self.model, self.step, self.final = self._new_model(state), state["step"], state["final"]
            Metrics(self.folder, self.paths.logs, self.step, board=False)
        else:
            self._prepare(state, threads)
            with self.log.progress(self.config.train.steps, "steps") as self.bar:
                self._steps()
        return self._finish()

    def _prepare(self, state: dict[str, Any] | None, threads: int | None) -> None:
        """Device, model, optimizer, metrics: from ``state``, or from the beginning."""
        config, training, world = self.config, self.config.train, self.world
        began_with = state["threads"] if state else None
        count = choose_threads(threads, began_with, world.size, self.log.warn)
        self.place = choose_place(training, count, world.local_rank)
        self.backend = None if training.attention == "auto" else training.attention
        check_attention(self.place, self.backend)
        self.peak, source = peak_flops(self.place)
        self.plan = make_plan(config, self.train_bin, self.tokenizer.vocab_size, self.place, self.peak, world.size)
        processes = f", {world.size} processes" if world.size > 1 else ""
        self.log.say(self.plan.words())
        self.log.say(
            f"run {self.fingerprint} on {self.place.words}{processes}; "
            f"MFU is of {self.peak / 1e9:,.0f} GFLOP/s ({source})"
        )
        torch.manual_seed(config.seed)
        self.model = self._new_model(state).to(self.place.device)
        self.model.compute_dtype, self.model.attention_backend = self.place.dtype, self.backend
        self.optimizer = Optimizer(self.model, training)
        if state:
            self._resume(state)
        self.metrics = Metrics(self.folder, self.paths.logs, self.step) if world.writes else None
        self.forward = self._compiled()

    def _new_model(self, state: dict[str, Any] | None) -> Decoder:
        model = Decoder(self.config.model, self.tokenizer.vocab_size)
        if state:
            model.load_state_dict(state["model"])
            return model
        generator = torch.Generator().manual_seed(self.config.seed)
        model.initialize(generator)
        start, fits = self.config.train.start, bigrams.applies(model.shape, model.vocab_size)
        if start == "bigrams" and not fits:
            raise UserError(
                "train.start: bigrams needs an untied head, embedding_norm and at most 8192 tokens; say auto"
            )
        if fits and start != "random":
            bigrams.start_as_bigrams(model, self.train_bin, generator)
        self.world.share(model.parameters())
        return model

    def _resume(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.step, self.skipped, self.evaluated = state["step"], state["skipped"], state["evaluated"]
        self.best, self.clock = Best(**state["best"]), Clock(**state["elapsed"])
        self.last = StepResult(**state["last"])
        self.log.say(f"resumes after step {self.step} of {self.config.train.steps}")

    def _compiled(self) -> Any:
        """The forward pass, through torch.compile where that pays; by the configuration alone, so a resume agrees."""
        wish, on_gpu = self.config.train.compile, self.place.device.type == "cuda"
        if wish == "off" or (wish == "auto" and not on_gpu and self.plan.flops < COMPILE_FROM_FLOPS):
            return self.model
        self.log.say("compiling: the first step waits for it, half a minute or more")
        return torch.compile(self.model)

    def _steps(self) -> None:
        training, saved = self.config.train, self.step
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
                raise Interrupted(f"saved step {self.step}; resume: the same command")
            if done:
                return
            self._one_step()

    def _one_step(self) -> None:
        rows = self.batches.rows(self.step, self.world.rank, self.world.size)
        training, stop = self.config.train, lambda: self.stop.requested
        self.last = training_step(self.step, self.forward, self.optimizer, rows, training, self.world, stop)
        self.step += 1
        self.skipped = check_skips(self.last, self.step, self.skipped, training)
        if self.skipped:
            self.log.warn(f"step {self.step}: loss or gradient is no number; no update ({self.skipped} in a row)")
        self.bar.update(self.step, note(self._row(), self.best))

    def _row(self) -> dict[str, Any]:
        tokens = self.step * self.config.train.batch_tokens
        rate = self.clock.rate(self.step) * self.config.train.batch_tokens
        return {
            "step": self.step,
            "tokens": tokens,
            "epoch": self.batches.epoch(self.step),
            "loss": self.last.loss,
            "lr": self.last.lr,
            "grad_norm": self.last.grad_norm,
            "tokens_per_second": rate,
            "mfu": rate * self.plan.counts.flops_per_token / (self.peak * self.world.size),
            **self.clock.elapsed(),
        }

    def _record(self) -> None:
        if self.metrics:
            self.metrics.row(**self._row())
        self.clock.mark(self.step)

    def _evaluate(self) -> bool:
        """Evaluates, records, samples; false when a signal came in between. The last time, on all documents."""
        done, training = self.step == self.config.train.steps, self.config.train
        row_so_far = self._row()
        with self.clock.paused():
            found = self._held_out(None if done else training.eval_tokens)
            if found is None:
                return False
            bpb, clean = found.bpb(), found.bpb(clean_only=True)
            self.best.see(bpb, self.step)
            self.evaluated = self.step
            if self.metrics:
                self.metrics.row(**row_so_far, val_loss=found.loss, val_bpb=bpb, val_bpb_clean=clean)
                self._sample()
        self.clock.mark(self.step)
        share = "all" if done else f"{found.text_tokens.sum():,}"
        self.log.file_only(f"step {self.step}: val bpb {_shown(bpb)}, clean {_shown(clean)} on {share} held-out tokens")
        if done:
            self.final = {"val_loss": found.loss, "val_bpb": bpb, "val_bpb_clean": clean, **self.clock.elapsed()}
        return True

    def _held_out(self, most_tokens: int | None) -> Evaluation | None:
        """The evaluation over all processes; None when one was asked to stop."""
        documents = spread_documents(self.val_bin, most_tokens)
        lengths, stop = self.tokenizer.token_lengths, lambda: self.stop.requested
        self.model.eval()
        own = evaluate(self.model, self.val_bin, documents, lengths, self.clean, self.world.rank, self.world.size, stop)
        self.model.train()
        return self.world.sum_evaluation(own, len(documents))

    def _sample(self) -> None:
        training = self.config.train
        if training.sample_tokens:
            prompt = [self.tokenizer.eot, *self.tokenizer.encode_ordinary(training.sample_prompt)]
            ids = generate(self.model, prompt, training.sample_tokens, stop=self.tokenizer.eot, seed=self.config.seed)
            self.metrics.sample(self.step, training.sample_prompt, self.tokenizer.decode(ids))

    def _save(self) -> None:
        if self.world.writes:
            state = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "rng": torch.get_rng_state(),
                "threads": self.place.threads,
                "skipped": self.skipped,
                "evaluated": self.evaluated,
                "best": {"bpb": self.best.bpb, "step": self.best.step},
                "elapsed": self.clock.elapsed(),
                "last": {**asdict(self.last), "stop": False},
                "final": self.final,
            }
            with self.clock.paused():
                checkpoint.save(self.folder, self.step, self.fingerprint, state, self.config.train.keep)
        self.world.wait()

    def _finish(self) -> dict[str, Any]:
        if not self.world.writes:
            return {}
        sha256 = self.tokenizer.sha256
        save_model(self.paths.output, self.model, tokenizer_sha256=sha256, step=self.step, fingerprint=self.fingerprint)
        parameters = counts(self.config.model, self.tokenizer.vocab_size).total
        return {"steps": self.step, "fingerprint": self.fingerprint, "parameters": parameters, **self.final}


def _clean_documents(path: Path, val: TokenBin, clean_share: float) -> np.ndarray:
    """Bool [documents]: less than ``clean_share`` of the text also stands in the training text."""
    try:
        shares = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise UserError(f"{path}: not an array file; run prepare_data again") from None
    if shares.shape != (val.meta.documents,):
        raise UserError(
            f"{path}: {shares.shape} shares for {val.meta.documents} held-out documents; run prepare_data again"
        )
    return shares < clean_share


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
