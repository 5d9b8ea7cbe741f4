"""Which weights a run is judged by and leaves: the last ones, their average, or the best.

The model has them while it is evaluated, and keeps them once the last evaluation is done; until
then it trains on with its own, and so does a run that resumes. Every process does the same, since
all have the same weights after each step and the same figures after each evaluation.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch

from ..config import Train
from ..model import Decoder
from .averaging import WeightAverage
from .best import BestWeights

__all__ = ["JudgedWeights"]

Figures: TypeAlias = dict[str, float | None]


class JudgedWeights:
    """``metric``: the figure that the best is the lowest of. ``model`` is on its device."""

    def __init__(self, model: Decoder, train: Train, metric: str) -> None:
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.metric, self.done = metric, False
        self.average = WeightAverage(self.parameters, train) if train.average else None
        self.best = BestWeights(self.parameters) if train.keep_best else None

    def took_step(self, step: int) -> None:
        """To be called after each step (from 1)."""
        if self.average:
            self.average.took_step(step)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The model has the judged weights in here, and keeps them after the last evaluation."""
        mean = self.average.mean if self.average else {}
        self._exchange(mean)
        try:
            yield
        finally:
            if not self.done:
                self._exchange(mean)

    def figures(
        self, validate: Callable[[bool], Figures | None], step: int, last: bool
    ) -> Figures | None:
        """What ``validate(whole)`` gives, within `in_model`; ``whole``: of all held-out text. Where
        the best is kept, this evaluation's weights may become it, and ``last`` measures the best:
        those two by the same text, that of the evaluations along the way, before the first step as
        well.
        """
        if self.best is None:
            figures = validate(last)
            self.done = last and figures is not None
            return figures

        figures = validate(False)
        if figures is None:
            return None
        self.best.offer(figures[self.metric], step)
        if not last:
            return figures if step else validate(True)

        self._exchange(self.best.weights)
        figures = validate(True)
        self.done = figures is not None
        if not self.done:
            self._exchange(self.best.weights)
        return figures

    def record(self, step: int) -> dict[str, Any]:
        """Of a finished run of ``step`` steps: which evaluation its weights are of, where the best
        are kept.
        """
        if self.best is None:
            return {}
        return {"weights_of_step": self.best.step if self.best.weights else step}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds besides the model: nothing where nothing is on or all is done."""
        parts = {"average": self.average, "best": self.best}
        states = {name: part.state_dict() for name, part in parts.items() if part}
        return {} if self.done else {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse."""
        if self.average:
            self.average.load_state_dict(state.get("average", {}))
        if self.best:
            self.best.load_state_dict(state.get("best", {}))

    @torch.no_grad()
    def _exchange(self, weights: Mapping[str, torch.Tensor]) -> None:
        """The model's for ``weights``: each is then where the other was. One tensor at a time, so
        that it takes no memory to speak of.
        """
        for name, other in weights.items():
            own = self.parameters[name].detach().clone()
            self.parameters[name].copy_(other)
            other.copy_(own)
