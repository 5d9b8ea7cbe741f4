"""What a training has to bring for the loop to run it (loop.py)."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from ..config import Model, Train
from ..device import Device
from ..model import Decoder
from ..tokenizer import Tokenizer
from .batches import BatchStream
from .distributed import World
from .metrics import RunFiles, Sample
from .plan import Plan
from .regime import Regime

__all__ = ["Recipe", "RunFolders", "Stopped", "board_name"]

Stopped = Callable[[], bool]  # whether a signal has come


class RunFolders(Protocol):
    """Where a run writes."""

    @property
    def run_root(self) -> Path:
        """Run folders, by fingerprint: checkpoints, and the record of metrics and samples."""

    @property
    def output(self) -> Path:
        """The model's file."""

    @property
    def logs(self) -> Path:
        """Copies of the metrics and samples, and TensorBoard's files."""


class Recipe(Protocol):
    """What differs between pretraining and fine-tuning."""

    names: RunFiles
    tokenizer: Tokenizer
    shape: Model
    training: Train  # steps, rates and how often to evaluate, save and log
    seed: int
    fingerprint: str
    parts: Mapping[str, Any] | None  # of the fingerprint; None where no run goes on from another
    held_out: dict[str, str | None]  # what it is measured on, as the run's figures have it
    evaluates_first: bool  # whether held-out text is measured before the first step too
    first_compares: bool  # whether on the same text as along the way
    chat: bool  # whether the model answers
    chat_tokens: bool  # whether its chat tokens are trained

    @property
    def regime(self) -> Regime | None:
        """How repeated text is treated; None where that is no question."""

    @property
    def files(self) -> RunFolders:
        """What it reads, and where the run writes."""

    @property
    def batches(self) -> BatchStream:
        """The training text, step by step."""

    def plan(self, device: Device, peak: float, processes: int) -> Plan:
        """What the run will take; UserError for sizes that can't work. ``peak``: FLOP/s."""

    def build_model(self, weights: Mapping[str, torch.Tensor] | None) -> Decoder:
        """The model on the CPU, with ``weights`` of a checkpoint or with its first ones."""

    def validate(
        self, model: Decoder, step: int, last: bool, world: World, stopped: Stopped
    ) -> dict[str, float | None] | None:
        """Figures on held-out text, by column of the metrics; ``last``: after the last step.

        Each process takes its share. None when a signal came on the way.
        """

    def samples(self, model: Decoder, step: int) -> Iterable[Sample]:
        """What the model writes now."""


def board_name(recipe: Recipe) -> str:
    """What TensorBoard calls the run: its stage, what people vary, and the beginning of the
    fingerprint.
    """
    shape, training = recipe.shape, recipe.training
    return "-".join(
        [
            recipe.names.csv.removesuffix("_metrics.csv"),
            f"{shape.layers}x{shape.width}",
            f"lr{training.lr:g}",
            f"{training.steps}steps",
            f"seed{recipe.seed}",
            recipe.fingerprint[:6],
        ]
    )
