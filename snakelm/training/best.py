"""The weights of a run's best evaluation, kept beside those that train on (train.keep_best).

They are chosen by held-out text, so what is measured on that text afterwards flatters them a
little; the last evaluation takes all of it, those along the way train.eval_tokens.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["BestWeights"]


class BestWeights:
    """``weights``: float32 on the CPU, by the names of ``parameters``; none before an evaluation
    that gave a number. ``step``: of that evaluation.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = parameters
        self.value, self.step = math.inf, 0
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, value: float | None, step: int) -> None:
        """Keeps the parameters as they are now, if ``value`` is the lowest so far; of equals the
        earlier.
        """
        if value is not None and value < self.value:
            self.value, self.step = value, step
            self.weights = {
                name: p.detach().to("cpu", copy=True) for name, p in self.parameters.items()
            }

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors; empty as long as nothing is kept."""
        if not self.weights:
            return {}
        return {"value": self.value, "step": self.step, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse."""
        if state:
            self.value, self.step, self.weights = state["value"], state["step"], state["weights"]
