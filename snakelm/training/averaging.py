"""An exponential average of a run's weights, in float32.

The average forgets what it took in by a factor of e in train.average of the run's steps: a share
and not a number of steps, so that a run of another length is averaged alike. Weights that learn
their text by heart move on from what served any text, and weights that still move go around a place
that their mean is nearer to (Polyak & Juditsky, 1992; Morales-Brotons et al., 2024,
arXiv:2411.18704). The model trains on as if there were no average; it has the average's weights
where it is evaluated and written (judged.py).

Before it has a memory's worth of weights it is their plain mean, so the first ones, which are
random, don't linger. A set every twentieth of the memory is enough, and costs next to nothing.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..config import Train

__all__ = ["WeightAverage"]

SETS = 20  # of weights in the memory


class WeightAverage:
    """``parameters``: by name. ``mean``: float32, by the same names, on their devices; empty before
    the first set.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], train: Train) -> None:
        self.parameters = parameters
        memory = (train.average or 0.0) * train.steps
        self.every = max(1, round(memory / SETS))
        self.memory = max(1.0, memory / self.every)  # in sets
        self.count = 0  # sets taken in
        self.mean: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def took_step(self, step: int) -> None:
        """Takes in the weights after ``step`` (from 1), where it is one of those that count."""
        if step % self.every:
            return
        self.count += 1
        for name, p in self.parameters.items():
            if self.count == 1:
                self.mean[name] = p.detach().clone()
            else:
                self.mean[name].lerp_(p, 1 / min(self.count, self.memory))

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors; empty before the first set."""
        return {"count": self.count, "mean": self.mean} if self.count else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse."""
        if state:
            self.count = state["count"]
            self.mean = {
                name: state["mean"][name].to(p.device) for name, p in self.parameters.items()
            }
