"""One optimizer step: micro-batches, the sum over processes, clipping, and what to do when the loss
is no number.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..config import Train
from ..errors import UserError
from .batches import Rows
from .distributed import World
from .optimizer import Optimizer
from .schedule import lr_factor, momentum

__all__ = ["MOST_SKIPS", "StepResult", "check_skips", "training_step"]

MOST_SKIPS = 3  # steps in a row without a usable gradient


@dataclass(frozen=True)
class StepResult:
    """``loss``: nats per token over the whole batch. ``stop``: some process is to end. ``skipped``:
    no update.
    """

    loss: float
    grad_norm: float
    lr: float
    stop: bool
    skipped: bool


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
    token counts the same in whatever micro-batch or process it stands, and however many its
    neighbours have.
    """
    device = optimizer.parameters[0].device
    loss_sum = torch.zeros((), device=device)
    for first in range(0, len(rows), train.micro_batch):
        part = rows.part(first, first + train.micro_batch)
        x_BT, start_BT, y_BT = (
            torch.from_numpy(a).to(device) for a in (part.tokens, part.row_start, part.targets)
        )
        loss = forward(x_BT, start_BT, y_BT)
        (loss / targets).backward()
        loss_sum += loss.detach()
    if not len(rows):  # a short last step has fewer rows than there are processes
        for p in optimizer.parameters:
            p.grad = torch.zeros_like(p)
    total, stops = world.sum_gradients(optimizer.parameters, [loss_sum.item(), float(stop())])
    grads = [p.grad for p in optimizer.parameters]
    norm = torch.nn.utils.get_total_norm(grads, foreach=True)
    skipped = not (math.isfinite(total) and math.isfinite(norm.item()))
    factor = lr_factor(step, train)
    if skipped:
        optimizer.drop_gradients()
    else:
        if train.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(
                optimizer.parameters, train.clip, norm, foreach=True
            )
        optimizer.step(factor, momentum(step, train))
    return StepResult(total / targets, norm.item(), train.lr * factor, stops > 0, skipped)


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
            f"step {step}: loss or gradient is no number (loss {result.loss}); lower {section}.lr, or say "
            "train.on_nan: skip; the same command goes on from the last checkpoint"
        )
    if in_a_row + 1 > MOST_SKIPS:
        raise UserError(
            f"step {step}: loss or gradient is no number, {in_a_row + 1} steps in a row; lower {section}.lr; the same "
            "command goes on from the last checkpoint"
        )
    return in_a_row + 1
