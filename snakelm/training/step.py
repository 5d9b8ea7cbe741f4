"""One optimizer step: micro-batches, the sum over processes, clipping, the update; and what happens
when the loss is NaN or infinite.

Legend: B rows, T positions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from pytorch_ext import total_norm

from ..config import Train
from ..errors import UserError
from ..model.decoder import IGNORE
from .batches import Rows
from .distributed import World
from .optimizer import Optimizer, lr_factor, momentum, weight_decay
from .ordered_sum import ordered_sum
from .sharding import ShardedOptimizer

__all__ = [
    "MOST_SKIPS",
    "StepResult",
    "check_skips",
    "reproducible_step",
    "sharded_step",
    "training_step",
]

MOST_SKIPS = 3  # steps in a row without a usable gradient


@dataclass(frozen=True)
class StepResult:
    """What a step did, the same on every process."""

    loss: float  # nats per token over the whole batch
    grad_norm: float  # before clipping
    lr: float
    stop: bool  # some process has been signalled: all end after this step
    skipped: bool  # no update, because loss or gradient is NaN or infinite


def training_step(
    step: int,
    forward: Callable[..., torch.Tensor],
    optimizer: Optimizer,
    rows: Rows,
    targets: int,
    train: Train,
    world: World,
    stop: Callable[[], bool],
) -> StepResult:
    """Step number ``step`` (from 0) on this process's ``rows`` of the batch.

    ``targets``: tokens to predict in the whole step. The summed loss is divided by it once, so a
    token counts the same whichever micro-batch or process it is in and however many targets its
    neighbours have.
    """
    loss_sum = _backward(forward, optimizer.parameters, rows, targets, train.micro_batch)

    # Sum over processes: gradients, loss and the wish to stop travel together.
    extras = [loss_sum.item(), float(stop())]
    total, stops = world.sum_gradients(optimizer.parameters, extras)
    return _update(step, optimizer, total, _norm(optimizer.parameters), targets, stops > 0, train)


def sharded_step(
    step: int,
    forward: Callable[..., torch.Tensor],
    optimizer: ShardedOptimizer,
    rows: Rows,
    targets: int,
    train: Train,
    world: World,
    stop: Callable[[], bool],
) -> StepResult:
    """The same where every process has a share of the weights: torch sums gradients of sharded ones
    in each backward pass, so all processes make as many, with nothing in them if need be.
    """
    shards = optimizer.shards
    own = -(-len(rows) // train.micro_batch)
    most = world.most(own)
    loss_sum = _backward(forward, optimizer.parameters, rows, targets, train.micro_batch)
    for _ in range(own, most):
        _backward_of_nothing(forward, rows, shards.device)
    shards.take_gradients()

    # What is whole on every process is summed here, with the rest's share of the norm.
    rest = _norm([p for p in optimizer.parameters if p.ndim == 2])
    extras = [loss_sum.item(), float(stop()), rest**2]
    total, stops, squares = world.sum_gradients(shards.gains, extras)
    norm = math.hypot(math.sqrt(squares), _norm(shards.gains))
    return _update(step, optimizer, total, norm, targets, stops > 0, train)


def reproducible_step(
    step: int,
    forward: Callable[..., torch.Tensor],
    optimizer: Optimizer,
    rows: Callable[[int], Rows],
    targets: int,
    train: Train,
    world: World,
    stop: Callable[[], bool],
) -> StepResult:
    """The same in train.reproducible parts, added in a fixed order: the same bits for any number of
    processes. ``rows``: those of a part.
    """
    parameters = optimizer.parameters

    def part(number: int) -> torch.Tensor:
        """Gradients, loss and the wish to stop, as one flat tensor."""
        optimizer.drop_gradients()
        loss_sum = _backward(forward, parameters, rows(number), targets, train.micro_batch)
        gradients = [p.grad.flatten() for p in parameters if p.grad is not None]
        assert len(gradients) == len(parameters), "parts would sum different parameters"
        return torch.cat([*gradients, loss_sum[None], loss_sum.new_tensor([float(stop())])])

    flat = ordered_sum(part, train.reproducible, world.rank, world.size)
    sizes = [p.numel() for p in parameters]
    for p, summed in zip(parameters, flat[: sum(sizes)].split(sizes), strict=True):
        p.grad = summed.view_as(p)
    total, stops = flat[sum(sizes) :].tolist()
    return _update(step, optimizer, total, _norm(parameters), targets, stops > 0, train)


def _backward(
    forward: Callable[..., torch.Tensor],
    parameters: Sequence[torch.nn.Parameter],
    rows: Rows,
    targets: int,
    micro_batch: int,
) -> torch.Tensor:
    """Forward and backward, a micro-batch at a time; gradients add up in .grad. Gives the summed
    loss.
    """
    device = parameters[0].device
    loss_sum = torch.zeros((), device=device)
    loss_of = rows.losses(forward, device)
    for first in range(0, len(rows), micro_batch):
        loss = loss_of(first, first + micro_batch)
        (loss / targets).backward()
        loss_sum += loss.detach()
    if not len(rows):  # a short last step has fewer rows than there are processes
        for p in parameters:
            p.grad = torch.zeros_like(p)
    return loss_sum


def _backward_of_nothing(
    forward: Callable[..., torch.Tensor], rows: Rows, device: torch.device
) -> None:
    """Forward and backward of a row without targets: no loss, gradients of zero."""
    x_BT, start_BT, y_BT = (
        torch.full((1, like.shape[1]), value, dtype=like.dtype, device=device)
        for like, value in zip(rows.part(0, 0).to(device), (0, 0, IGNORE), strict=True)
    )
    forward(x_BT, start_BT, y_BT, rows.sample_to(device)).backward()


def _norm(parameters: Sequence[torch.nn.Parameter]) -> float:
    """Of all their gradients."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return total_norm(gradients).item() if gradients else 0.0


def _update(
    step: int,
    optimizer: Optimizer,
    total: float,
    norm: float,
    targets: int,
    stop: bool,
    train: Train,
) -> StepResult:
    """The optimizer's step from the summed gradients, of this ``norm``; ``total``: the summed
    loss.
    """
    # Update, unless it would write NaN into the weights.
    skipped = not (math.isfinite(total) and math.isfinite(norm))
    factor = lr_factor(step, train)
    if skipped:
        optimizer.drop_gradients()
    else:
        # Clipped where the gradients are read; 1e-6 as in torch.nn.utils.clip_grad_norm_.
        scale = 1.0 if train.clip is None else min(1.0, train.clip / (norm + 1e-6))
        optimizer.step(factor, momentum(step, train), scale, weight_decay(step, train))

    return StepResult(total / targets, norm, train.lr * factor, stop, skipped)


def check_skips(
    result: StepResult, step: int, in_a_row: int, train: Train, section: str = "train"
) -> int:
    """Skipped steps in a row, this one counted; UserError by train.on_nan, or after the third in a
    row.

    ``section``: of the configuration, where the learning rate is.
    """
    if not result.skipped:
        return 0
    if train.on_nan == "error":
        raise UserError(
            f"step {step}: loss or gradient is NaN or infinite (loss {result.loss}); lower "
            f"{section}.lr, or set train.on_nan: skip; the same command resumes from the last "
            "checkpoint"
        )
    if in_a_row + 1 > MOST_SKIPS:
        raise UserError(
            f"step {step}: loss or gradient is NaN or infinite, {in_a_row + 1} steps in a row; "
            f"lower {section}.lr; the same command resumes from the last checkpoint"
        )
    return in_a_row + 1
