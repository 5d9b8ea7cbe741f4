"""What a step of a size takes on this machine: a few real ones, of training's own code on the run's
own text.

The median of their wall-clock times, since other programs disturb single ones. A size whose steps
would take too long to try is estimated from the operations of the next smaller one, and said to be.

Of a run in several processes, one has its share of a batch here, with the threads that it would
have. What they tell each other isn't counted, nor that those of a host share its memory's
bandwidth: neither can be seen from one process, and the hosts needn't be like this one.
"""

import os
import statistics
import time
from dataclasses import dataclass

import torch

from ..config import Candidate
from ..data.bins import TokenBin
from ..device import Device, compiled, pays_to_compile
from ..log import Log
from ..model import Decoder, model_size
from ..training.batches import Batches
from ..training.distributed import World
from ..training.initial_weights import set_initial_weights
from ..training.optimizer import Optimizer
from ..training.plan import make_plan
from ..training.sampled_softmax import choose_sampler
from ..training.step import training_step

__all__ = ["StepTime", "machine_memory", "time_steps"]

WARM, TIMED = 1, 5  # steps
LONGEST_S = 1.0  # that one step may take, to be tried


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step and of the start, operations of the step, and memory of the process.

    ``forward``: seconds of a forward pass through one token with the whole softmax, as evaluations
    take it.
    """

    step: float
    start: float
    flops: float
    forward: float
    memory: float  # bytes
    measured: bool


def time_steps(
    candidate: Candidate, tokens: TokenBin, device: Device, before: StepTime | None
) -> StepTime:
    """The time of a step of ``candidate`` on the text of ``tokens``; ``before``: of the next
    smaller size, None for the smallest, which is always tried.
    """
    train, model = candidate.train, candidate.model
    assert train.seed is not None, "the checks fill it in"
    batches = Batches(tokens, model.context, train.batch_tokens, train.seed)
    targets = batches.rows(0).targets
    world = train.nodes * train.processes
    batches.sampler = choose_sampler(train, tokens, targets, device, Log("plan", quiet=True))
    drawn = batches.sampler.draw(0, targets) if batches.sampler else None
    sampled = None if drawn is None else len(drawn.tokens)

    vocab_size = tokens.meta.vocab_size
    size = model_size(model, vocab_size, sampled)
    flops = train.batch_tokens * size.flops_per_token
    memory, alone = (
        make_plan(
            model,
            vocab_size,
            train.batch_tokens,
            1.0,
            min(train.micro_batch, train.batch_tokens // model.context // world),
            device,
            1.0,
            world,
            sampled=sampled,
            train=train.model_copy(update={"sharding": sharding}),
        ).memory
        for sharding in (train.sharding, "none")
    )

    guess = before.step * flops / before.flops if before else 0.0
    if before and (guess > LONGEST_S or alone > machine_memory(device, 1)):
        start, step, measured = before.start, guess, False
    else:
        start, step = _tried(candidate, tokens, batches, device, world)
        measured = True

    whole = model_size(model, vocab_size).flops_per_token / 3
    return StepTime(step, start, flops, step * whole / flops, memory, measured)


def machine_memory(device: Device, processes: int) -> float:
    """Bytes that each of a host's ``processes`` can have: of a device of its own, or a share."""
    if device.kind == "cuda":
        return float(torch.cuda.get_device_properties(device.device).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / processes


def _tried(
    candidate: Candidate, tokens: TokenBin, batches: Batches, device: Device, world: int
) -> tuple[float, float]:
    """Seconds of the start, and the median of some steps of one of ``world`` processes."""
    train = candidate.train
    begun = time.monotonic()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = Decoder(candidate.model, tokens.meta.vocab_size)
    set_initial_weights(model, train, tokens, generator, device.dtype)
    start = time.monotonic() - begun

    model.to(device.device)
    model.compute_dtype = device.dtype
    model.attention_backend = None if train.attention == "auto" else train.attention
    model.checkpoint_blocks = train.activation_checkpointing
    optimizer = Optimizer(model, train)
    per_token = model_size(model.shape, model.vocab_size).flops_per_token
    run_flops = train.steps * train.batch_tokens * per_token
    pays = pays_to_compile(train.compile, device, run_flops)
    forward = compiled(model, device) if pays else model

    seconds = []
    for step in range(WARM + TIMED):
        before = time.monotonic()
        rows = batches.rows(step, 0, world)
        targets = batches.targets(step)
        training_step(step, forward, optimizer, rows, targets, train, World(), lambda: False)
        seconds.append(time.monotonic() - before)  # a step ends with its loss on the CPU
    return start, statistics.median(seconds[WARM:])
