"""Muon for the matrices inside blocks, AdamW for everything else, and how their rates change over a
run.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/): momentum, then the nearest
semi-orthogonal matrix in place of the gradient, which is rounded to bfloat16, by a Newton–Schulz
iteration (pytorch_ext.orthogonalize). Matrices of one shape go through it as one batch.

AdamW (Loshchilov & Hutter, 2019) is for the embedding, the head, the norms' gains and LoRA's
factors, without weight decay (adamw.py).

Each number is read once and written once: clipping scales the gradients where they are read, and
the weights' working copies are written with the weights (pytorch_ext.muon_step, adamw_step).

The learning rate is warm-up–stable–decay (Hu et al., 2024, MiniCPM): linearly up, flat, linearly to
zero. The flat middle means that the length of a run is decided by when the decay starts, and that
decay can start from any checkpoint of the flat part.

Legend: G matrices of one shape, M × N.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn

from pytorch_ext import muon_step

from ..config import Train
from .adamw import AdamW, bfloat16_copies, mark_written
from .lora import is_factor

__all__ = ["Muon", "Optimizer", "highest_factor", "lr_factor", "momentum", "weight_decay"]

# Early gradients turn quickly: a shorter memory follows them.
MOMENTUM_START, MOMENTUM_STEPS = 0.85, 300


def lr_factor(step: int, train: Train) -> float:
    """The share of the peak learning rate at ``step`` (from 0): in (0, 1], and never 0 before the
    run's end.
    """
    warmup = min(1.0, (step + 1) / train.warmup) if train.warmup else 1.0

    decay_steps = train.decay * train.steps
    steps_left = train.steps - step
    return warmup * (min(1.0, steps_left / decay_steps) if decay_steps > 0 else 1.0)


def highest_factor(train: Train) -> float:
    """The largest `lr_factor` of the run: below 1 where the decay begins within the warm-up, or the
    run ends there.
    """
    until = min(train.steps, max(1, train.warmup))
    looked_at = {*range(0, until, max(1, until // 1000)), until - 1}
    return max(lr_factor(step, train) for step in looked_at)


def momentum(step: int, train: Train) -> float:
    """Muon's momentum at ``step``, from 0.85 to train.momentum over the first 300 steps."""
    start = min(MOMENTUM_START, train.momentum)
    return start + (train.momentum - start) * min(1.0, step / MOMENTUM_STEPS)


def weight_decay(step: int, train: Train) -> float:
    """The weight decay at ``step``: train.weight_decay times the schedule's factor there."""
    peak, factors = train.weight_decay, train.weight_decay_schedule
    if not factors:
        return peak
    place = (len(factors) - 1) * step / max(1, train.steps - 1)
    before = min(int(place), len(factors) - 2)
    share = place - before
    return peak * (factors[before] * (1 - share) + factors[before + 1] * share)


class Muon:
    """Momentum (Nesterov's) and orthogonalised updates of 2-d parameters, batched by shape."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.groups: dict[tuple[int, int], list[nn.Parameter]] = {}
        for p in parameters:
            self.groups.setdefault((p.shape[0], p.shape[1]), []).append(p)

        self.momentum_GMN = {  # float32
            shape: torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in self.groups.items()
        }

    @torch.no_grad()
    def step(
        self, lr: float, momentum: float, weight_decay: float, gradient_scale: float = 1.0
    ) -> None:
        """One update from each parameter's .grad times ``gradient_scale``; ``lr`` is the update's
        spectral norm for a square matrix.
        """
        for (rows, columns), group in self.groups.items():
            copies = bfloat16_copies(group)
            muon_step(
                group,
                [p.grad for p in group if p.grad is not None],
                self.momentum_GMN[rows, columns],
                rate=lr * max(1.0, rows / columns) ** 0.5,  # a tall matrix's output keeps its size
                momentum=momentum,
                decay=lr * weight_decay,
                gradient_scale=gradient_scale,
                copies=copies,
            )
            mark_written(group, copies)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Momentum by shape, `"256x768"`."""
        return {f"{m}x{n}": buffer.clone() for (m, n), buffer in self.momentum_GMN.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """The reverse; KeyError or RuntimeError when the shapes differ."""
        for (m, n), buffer in self.momentum_GMN.items():
            buffer.copy_(state[f"{m}x{n}"])


class HasParameters(Protocol):
    """A module, or whatever has parameters by a Decoder's names."""

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]:
        """Each of them."""


class Optimizer:
    """Both, over a Decoder's parameters that require gradients."""

    def __init__(self, model: HasParameters, train: Train) -> None:
        self.train = train
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        inside_blocks = {
            name: p for name, p in trained.items() if p.ndim == 2 and name.startswith("layers.")
        }

        matrices = [p for name, p in inside_blocks.items() if not is_factor(name)]
        self.muon = Muon(matrices)

        # The order of groups is that of checkpoints: tables, gains, factors.
        tables = {"embedding": train.embedding_lr, "head": train.head_lr}
        groups: list[dict[str, Any]] = [
            {"params": [trained[name]], "lr": lr} for name, lr in tables.items() if name in trained
        ]
        gains = [p for p in trained.values() if p.ndim == 1]
        groups.append({"params": gains, "lr": train.scalar_lr})
        factors = [p for name, p in inside_blocks.items() if is_factor(name)]
        groups += [{"params": factors, "lr": train.lr}] if factors else []
        self.peak_lrs = [group["lr"] for group in groups]

        # eps: embedding rows are seen rarely and their gradients are tiny
        self.adamw = AdamW(groups, betas=(train.beta1, train.beta2), eps=1e-10)
        self.parameters = [*matrices, *(p for group in groups for p in group["params"])]

    def step(
        self,
        lr_factor: float,
        momentum: float,
        gradient_scale: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        """One update of everything from .grad times ``gradient_scale``; .grad is then dropped.

        ``weight_decay``: of the matrices inside blocks, before it is multiplied with their rate.
        """
        for group, peak in zip(self.adamw.param_groups, self.peak_lrs, strict=True):
            group["lr"] = peak * lr_factor
        self.adamw.update(gradient_scale)
        self.muon.step(self.train.lr * lr_factor, momentum, weight_decay, gradient_scale)
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Forgets every .grad."""
        for p in self.parameters:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The reverse."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
