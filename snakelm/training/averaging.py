"""The average of a run's last weights, one set a step, in float32.

Weights that still move go around a place that their mean is nearer to (Polyak & Juditsky, 1992;
Izmailov et al., 2018, arXiv:1803.05407). The model trains on as if there were no average; it has
the average's weights where it is evaluated and written (judged.py).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..config import Train

__all__ = ["WeightAverage"]


class WeightAverage:
    """The mean over the last train.average of a run's steps; nothing before.

    ``parameters``: by name. ``mean``: float32, by the same names, on their devices.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], train: Train) -> None:
        self.parameters = parameters
        self.before = train.steps - round((train.average or 0.0) * train.steps)
        self.count = 0  # sets of weights in the mean
        self.mean: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def took_step(self, step: int) -> None:
        """Takes in the weights after ``step`` (from 1)."""
        if step <= self.before:
            return
        self.count += 1
        for name, p in self.parameters.items():
            if self.count == 1:
                self.mean[name] = p.detach().clone()
            else:
                self.mean[name].lerp_(p, 1 / self.count)

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors; empty as long as there is no average."""
        return {"count": self.count, "mean": self.mean} if self.count else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse."""
        if state:
            self.count = state["count"]
            self.mean = {
                name: state["mean"][name].to(p.device) for name, p in self.parameters.items()
            }
