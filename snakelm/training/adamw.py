"""AdamW whose step on a CPU is one pass: clipping, moments, weights and their working copies.

Its state, and so its part of a checkpoint, is torch's own.
"""

from collections.abc import Sequence
from inspect import unwrap
from typing import Any

import torch

from pytorch_ext import adamw_step

from ..model.working_copies import held_copy, refreshed

__all__ = ["AdamW", "bfloat16_copies", "mark_written"]

Copies = list[torch.Tensor | None]


class AdamW(torch.optim.AdamW):
    """torch.optim.AdamW of float32 parameters, fused and without weight decay."""

    # As torch has them they import its compiler first, at every start: a second or more for what is
    # never compiled here.
    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)

    def __init__(
        self, groups: list[dict[str, Any]], betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, betas=betas, eps=eps, weight_decay=0.0, fused=True)

    @torch.no_grad()
    def update(self, gradient_scale: float = 1.0) -> None:
        """A step with every .grad times ``gradient_scale``."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        if all(p.device.type == "cpu" for p in parameters):
            self._update_on_cpu(gradient_scale)
            return

        if gradient_scale != 1:
            gradients = [p.grad for p in parameters if p.grad is not None]
            torch._foreach_mul_(gradients, gradient_scale)
        self.step()

    def _update_on_cpu(self, gradient_scale: float) -> None:
        """In one pass for all parameters that have taken as many steps, of whatever group: a pass
        wakes the threads, which takes as long as a small one.
        """
        passes: dict[Any, list[tuple[torch.nn.Parameter, Any, float]]] = {}
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    state = self._state_of(p)
                    state["step"] += 1
                    alike = int(state["step"]), tuple(group["betas"]), group["eps"]
                    passes.setdefault(alike, []).append((p, state, group["lr"]))

        for (step, betas, eps), members in passes.items():
            parameters = [p for p, _, _ in members]
            copies = bfloat16_copies(parameters)
            adamw_step(
                parameters,
                [p.grad for p in parameters if p.grad is not None],
                [state["exp_avg"] for _, state, _ in members],
                [state["exp_avg_sq"] for _, state, _ in members],
                step=step,
                rate=[rate for _, _, rate in members],
                betas=betas,
                eps=eps,
                gradient_scale=gradient_scale,
                copies=copies,
            )
            mark_written(parameters, copies)

    def _state_of(self, p: torch.nn.Parameter) -> Any:
        """What torch's own first step makes."""
        state = self.state[p]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        return state


def bfloat16_copies(parameters: Sequence[torch.nn.Parameter]) -> Copies:
    """The working copies that there are, for a pass that writes them with the parameters."""
    copies = [held_copy(p) for p in parameters]
    return [c if c is not None and c.dtype == torch.bfloat16 else None for c in copies]


def mark_written(parameters: Sequence[torch.nn.Parameter], copies: Copies) -> None:
    """Tells torch that parameters have changed, and the working copies that they are right."""
    torch.autograd.graph.increment_version(
        [p for p, copy in zip(parameters, copies, strict=True) if copy is None]
    )
    refreshed(*(p for p, copy in zip(parameters, copies, strict=True) if copy is not None))
