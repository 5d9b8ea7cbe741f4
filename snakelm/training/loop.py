"""One run of training from top to bottom, whatever it trains on: plan, resume, step, evaluate,
save, write the model.

`run` is to be read first and needs no other file to be understood. Pretraining (pretraining.py) and
fine-tuning (finetuning.py) give it a `Recipe`: batches, first weights, what is measured, what is
sampled.

What decides the result makes the run's fingerprint, and with it the folder of its checkpoints. A
run that was stopped and started again, in whatever way and however often, ends with the bytes of
one that never stopped (on the same kind of machine, with the same number of threads).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from ..config import Train
from ..device import (
    Device,
    choose_threads,
    compiled,
    pays_to_compile,
    peak_flops,
    set_up_device,
)
from ..errors import Interrupted, UserError
from ..files import human_bytes
from ..log import Log
from ..model import Decoder, model_size, save_model
from ..workflow.lock import locked
from ..workflow.signals import StopRequest
from . import branching, checkpoint, lora
from .batches import BatchStream
from .distributed import World, process_group
from .judged import JudgedWeights
from .machine import check_machine, machine_of
from .metrics import MetricsRow
from .metrics_writer import NO_STEP, MetricsWriter, last_step
from .operators import check_attention, operators_taken
from .optimizer import Optimizer
from .plan import Plan
from .progress import Progress, RunResult, resident_peak, status_line
from .recipe import Recipe, Stopped, board_name
from .sharding import ShardedOptimizer, Shards, is_sharded
from .step import check_skips, reproducible_step, sharded_step, training_step

__all__ = ["Recipe", "Stopped", "start"]


def start(
    device: str, log: Log, threads: int | None, recipe: Callable[[bool], Recipe]
) -> RunResult:
    """Starts a run or resumes it, and writes its model; gives the figures of the finished run.

    ``device``: train.device. ``threads``: at most this many; None for all that are free.
    ``recipe``: makes the recipe; its argument says whether this process is the one to verify files.
    Raises UserError for what the user can fix, Interrupted when a signal ended the run after its
    state was saved. Under torchrun every process calls this; rank 0 writes.
    """
    with process_group(device) as world:
        made = recipe(world.local_rank == 0)  # every host verifies what it reads, once
        with _sole_writer(made, world, log), StopRequest() as stop:
            if world.writes:
                branching.go_on_from_earlier(made.files.run_root, made, log)
            return run(made, log, world, lambda: stop.requested, threads)


def run(recipe: Recipe, log: Log, world: World, stopped: Stopped, threads: int | None) -> RunResult:
    """Everything, from the newest checkpoint to the model's file."""
    training, names = recipe.training, recipe.names
    folder = _run_folder(recipe)

    # Resume? The newest sound checkpoint of this very run says how far it got.
    saved = world.agreement.same_checkpoint(
        recipe.fingerprint,
        lambda: checkpoint.load_newest(folder, recipe.fingerprint, log.warn, names.stem),
        lambda step: checkpoint.load(folder, step, recipe.fingerprint, names.stem),
        lambda step: checkpoint.written_hash(folder, step, names.stem),
    )
    record = saved.get("record") if saved else None
    if saved is None:
        progress = Progress(evaluated=NO_STEP if recipe.evaluates_first else 0)
        if begun := last_step(folder, names):
            log.warn(f"stopped near step {begun}, before its first checkpoint; begins at step 0")
    else:
        progress = Progress.of_checkpoint(saved)
        if world.writes:
            checkpoint.set_aside(folder, progress.step, log.warn, names.stem)
        if progress.final is not None:
            log.say(f"run {recipe.fingerprint} is complete: its last checkpoint is taken")
            if world.writes:
                logs, step = recipe.files.logs, progress.step
                MetricsWriter(folder, logs, step, names, record=record)
            return _finish(recipe, recipe.build_model(saved["model"]), progress, world)

    if training.reproducible and world.size > training.reproducible:
        raise UserError(
            f"train.reproducible: {training.reproducible} parts for {world.size} processes; start "
            "at most as many"
        )
    progress.note_processes(world.size, training.reproducible > 0, log.say)

    # Plan: threads, device, precision, and a line on what the run will take.
    began_with = saved["threads"] if saved else None
    count = choose_threads(threads, began_with, world.local_size, log.warn)
    device = set_up_device(training.device, training.precision, count, world.local_rank)
    attention_backend = None if training.attention == "auto" else training.attention
    check_attention(device, attention_backend)
    operators = operators_taken(recipe.shape, device, attention_backend)
    machine = machine_of(device, operators)
    if saved:
        check_machine(saved.get("machine"), machine, training.on_other_machine, log.warn)
    peak, peak_source = peak_flops(device)
    plan = recipe.plan(device, peak, world.size)
    peak_tokens_per_second = peak * world.size / plan.size.flops_per_token
    log.say(plan.summary())
    log.say(
        f"run {recipe.fingerprint} on {device.description}"
        f"{f', {world.size} processes' if world.size > 1 else ''}; "
        f"MFU is of {peak / 1e9:,.0f} GFLOP/s ({peak_source})"
    )
    log.say(f"operators: {', '.join(map(' '.join, operators.items()))}")

    # Model and optimizer, from the checkpoint or from the beginning.
    torch.manual_seed(recipe.seed)
    model = recipe.build_model(saved["model"] if saved else None)
    if not saved:
        world.broadcast(model.parameters())
    model.to(device.device)
    model.compute_dtype, model.attention_backend = device.dtype, attention_backend
    model.checkpoint_blocks = training.activation_checkpointing
    shards = Shards(model, world) if is_sharded(training, world, log.say) else None
    optimizer = ShardedOptimizer(shards, training) if shards else Optimizer(model, training)
    judged = JudgedWeights(model, training, names.metric)
    if saved:
        optimizer.load_state_dict(saved["optimizer"])
        judged.load_state_dict(saved.get("judged", {}))
        torch.set_rng_state(saved["rng"])
        log.say(progress.resumption(training.steps))
    forward = model if shards else _compiled(model, training, device, plan, log)

    # Metrics and samples, without what an earlier start wrote after that checkpoint.
    kept_until = progress.step if saved else NO_STEP
    saved = None  # its tensors are copies by now
    metrics = None
    if world.writes:
        board, logs = board_name(recipe), recipe.files.logs
        metrics = MetricsWriter(folder, logs, kept_until, names, board, record)

    saved_step, pinned = progress.step, branching.pinned_step(training)
    progress.clock.start(progress.step)
    with log.progress(training.steps, "steps") as bar:
        while True:
            step = progress.step
            done = step == training.steps
            ending = progress.last is not None and progress.last.stop  # all processes agree on it

            # Evaluate, or note down how the last step went.
            due = (done or step % training.eval_every == 0) and progress.evaluated != step
            if due and not ending:
                row = _metrics_row(progress, recipe.batches, peak_tokens_per_second)
                with progress.clock.paused(), judged.in_model():
                    whole = shards.whole() if shards else model
                    whole.eval()
                    measure = partial(_measure, recipe, whole, step, world, stopped)
                    figures = judged.figures(measure, step, done)
                    if figures is None:
                        ending = True
                    else:
                        progress.saw_evaluation(figures, names.metric, recipe.first_compares)
                        if metrics:
                            metrics.row(replace(row, **figures))  # type: ignore[arg-type]
                            for sample in recipe.samples(whole, step):
                                metrics.sample(sample)
                    model.train()
                    del whole  # of shards it is a copy
                if figures is not None:
                    progress.clock.mark(step)
                    if done:
                        elapsed = progress.clock.elapsed()
                        used = {"peak_bytes": resident_peak(), **device.record(world.size)}
                        used["operators"] = operators
                        if len(progress.processes) > 1:
                            used["processes_from_step"] = progress.processes
                        progress.final = {**figures, **elapsed, **used, **judged.record(step)}
            elif not due and step != saved_step and step % training.log_every == 0:
                if metrics:
                    metrics.row(_metrics_row(progress, recipe.batches, peak_tokens_per_second))
                progress.clock.mark(step)

            # Save.
            saving = done or ending or step == pinned or step % training.save_every == 0
            if saving and step != saved_step:
                with progress.clock.paused():
                    gathered = (shards.weights(), optimizer.state_dict()) if shards else None
                    if metrics:
                        weights, rest = gathered or (model.state_dict(), optimizer.state_dict())
                        state = _state(weights, rest, judged, device, progress)
                        state |= {"record": metrics.record(), "machine": machine}
                        identity = (recipe.fingerprint, state, training.keep, names.stem)
                        checkpoint.save(folder, step, *identity, pinned=pinned)
                world.wait()
                saved_step = step

            # End?
            if ending:
                raise Interrupted(
                    f"saved step {step}; resume: the same command"
                    if step
                    else "stopped before the first step; begin again: the same command"
                )
            if done:
                break

            # Step.
            targets = recipe.batches.targets(step)
            if training.reproducible:
                part_rows = partial(recipe.batches.rows, step, world=training.reproducible)
                result = reproducible_step(
                    step, forward, optimizer, part_rows, targets, training, world, stopped
                )
            else:
                rows = recipe.batches.rows(step, world.rank, world.size)
                arguments = rows, targets, training, world, stopped
                if isinstance(optimizer, ShardedOptimizer):
                    result = sharded_step(step, forward, optimizer, *arguments)
                else:
                    result = training_step(step, forward, optimizer, *arguments)
            progress.took_step(
                result, check_skips(result, step + 1, progress.skipped, training, names.section)
            )
            judged.took_step(progress.step)
            if progress.skipped:
                log.warn(
                    f"step {progress.step}: loss or gradient is NaN or infinite; no update "
                    f"({progress.skipped} in a row)"
                )
            row = _metrics_row(progress, recipe.batches, peak_tokens_per_second)
            bar.update(progress.step, status_line(row, progress.best, names.metric))

    if metrics:
        metrics.close()
    return _finish(recipe, shards.whole() if shards else model, progress, world)


def _run_folder(recipe: Recipe) -> Path:
    return recipe.files.run_root / recipe.fingerprint


@contextmanager
def _sole_writer(recipe: Recipe, world: World, log: Log) -> Iterator[None]:
    """The lock on the run folders, held by the process that writes; under it, what killed processes
    left half-written goes.
    """
    if not world.writes:
        yield
        return
    with locked(recipe.files.run_root):
        _run_folder(recipe).mkdir(exist_ok=True)
        if freed := checkpoint.sweep(recipe.files.run_root):
            log.say(f"{human_bytes(freed)} of abandoned temporary files removed")
        yield


def _compiled(
    model: Decoder, training: Train, device: Device, plan: Plan, log: Log
) -> Callable[..., torch.Tensor]:
    """The forward pass, through torch.compile where that pays."""
    if not pays_to_compile(training.compile, device, plan.flops):
        return model
    forward = compiled(model, device)
    log.say("compiling: the first step waits for it, half a minute or more")
    return forward


def _measure(
    recipe: Recipe, model: Decoder, step: int, world: World, stopped: Stopped, last: bool
) -> dict[str, float | None] | None:
    """What the recipe measures; ``last`` comes last, for it is all that is left to decide."""
    return recipe.validate(model, step, last, world, stopped)


def _metrics_row(
    progress: Progress, batches: BatchStream, peak_tokens_per_second: float
) -> MetricsRow:
    """The row of the last step; without loss before the first one."""
    step, last, clock = progress.step, progress.last, progress.clock
    tokens = batches.tokens(step)
    rate = clock.rate(step) * tokens / max(1, step)
    return MetricsRow(
        step=step,
        tokens=tokens,
        epoch=batches.epoch(step),
        loss=last.loss if last else None,
        lr=last.lr if last else None,
        grad_norm=last.grad_norm if last else None,
        tokens_per_second=rate,
        mfu=rate / peak_tokens_per_second,
        **clock.elapsed(),
    )


def _state(
    weights: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    judged: JudgedWeights,
    device: Device,
    progress: Progress,
) -> dict[str, Any]:
    """What a checkpoint holds: plain types and tensors."""
    others = judged.state_dict()
    return {
        "model": weights,
        "optimizer": optimizer,
        "rng": torch.get_rng_state(),
        "threads": device.threads,
        **progress.checkpoint_keys(),
        **({"judged": others} if others else {}),
    }


def _finish(recipe: Recipe, model: Decoder, progress: Progress, world: World) -> RunResult:
    """Writes the model's file and gives the run's figures; nothing but on rank 0."""
    if not world.writes:
        return {}

    lora.fold(model)  # a plain model again; nothing to do without LoRA
    final = progress.final or {}
    save_model(
        recipe.files.output,
        model,
        tokenizer_sha256=recipe.tokenizer.sha256,
        step=final.get("weights_of_step", progress.step),
        fingerprint=recipe.fingerprint,
        chat=recipe.chat,
        chat_tokens=recipe.chat_tokens,
    )

    result = {
        "steps": progress.step,
        "fingerprint": recipe.fingerprint,
        "parameters": model_size(recipe.shape, recipe.tokenizer.vocab_size).total,
        **final,
        **recipe.held_out,
    }
    if recipe.regime:
        result["regime"] = recipe.regime.record()
    if recipe.evaluates_first:
        result["val_loss_before"] = progress.loss_before
        if progress.bpb_before is not None:
            result["val_bpb_before"] = progress.bpb_before
    if progress.continues:
        result["continues"] = progress.continues
    return cast(RunResult, result)
