"""loss.json, which `heldout_loss` measures: a run's models on held-out text and answers, where the
loss comes from, and the scaling law of the run's curve. The types, and the reader.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..json_files import read_json
from ..json_record import JsonRecord
from .records import (
    FEW_BYTES_MORE,
    WITH_PREFERENCES,
    ByStage,
    HeldOutLoss,
    HeldOutText,
    Interval,
    Stage,
)

__all__ = [
    "BinLosses",
    "DocumentExcerpt",
    "FittedLaw",
    "FrequencyLosses",
    "LawCurve",
    "LawPoint",
    "LawPoints",
    "LossRecord",
    "MissingLaw",
    "SourceLoss",
    "SourceRate",
    "StageLoss",
    "TrainLoss",
    "TuningChange",
    "read_loss",
]


class StageLoss(HeldOutLoss):
    """A model and its loss."""

    model: str  # name of its file
    parameters: int
    step: int
    context: int


class TuningChange(JsonRecord):
    """Loss after tuning minus loss before, on the same documents."""

    all: Interval
    answers: Interval | None = None


@dataclass(frozen=True)
class SourceRate(Interval):
    """Bits per byte of a source, and those that 5, 25, 50, 75 and 95% of its documents stay
    below.
    """

    quantiles: list[float]


class SourceLoss(ByStage[SourceRate | None]):
    """The held-out documents of a source."""

    documents: int
    bytes: int
    characters: int | None = None


class BinLosses(ByStage[list[float | None]]):
    """Nats per token, by bins of some quantity; bin i holds edges[i] up to edges[i + 1] - 1."""

    edges: list[int]
    tokens: list[int]
    bytes: list[int]


class FrequencyLosses(BinLosses):
    """By how often the token occurs in the training text."""

    frequency_alone: list[float | None]  # the loss of a model that knows frequencies only


class TrainLoss(JsonRecord):
    """Loss on documents that training has read to their end."""

    epochs: float
    read_documents: int = Field(validation_alias="read", serialization_alias="read")
    train_documents: int = Field(validation_alias="of", serialization_alias="of")
    documents: int  # of those read, measured
    bpb: Interval | None
    gap: Interval | None  # held-out minus train loss, in bits per byte


@dataclass(frozen=True)
class LawPoint(Interval):
    """The loss that a law predicts after ``tokens``."""

    tokens: float


class LawPoints(JsonRecord):
    """Points of a curve."""

    tokens: list[float]
    loss: list[float]


class LawCurve(LawPoints):
    """A fitted curve with its 95% band."""

    low: list[float]
    high: list[float]


class FittedLaw(JsonRecord):
    """L(D) = floor + scale · D^-power, fitted to the losses of a run."""

    points: int
    floor: Interval
    scale: Interval
    power: Interval
    residual: float
    first_tokens: float
    last_tokens: float
    ahead: list[LawPoint]  # at the run's end, and at two and ten times its tokens
    measured: LawPoints
    curve: LawCurve


class MissingLaw(JsonRecord):
    """Why no law was fitted."""

    points: int
    reason: str = Field(validation_alias="none", serialization_alias="none")


class DocumentExcerpt(JsonRecord):
    """A held-out document that a model finds very hard or very easy."""

    id: str  # of 64 bits, which JSON readers would round as a number
    source: str
    file: str | None
    row: int | None
    bytes: int
    characters: int | None = None
    clean: bool
    bpb_base: float
    bpb_tuned: float | None = None
    text: str


class LossRecord(JsonRecord):
    """loss.json"""

    held_out: HeldOutText
    stages: dict[Stage, StageLoss]
    change: TuningChange | None
    sources: dict[str, SourceLoss]
    by_visible: BinLosses
    by_frequency: FrequencyLosses
    train_loss: TrainLoss = Field(validation_alias="reading", serialization_alias="reading")
    law: dict[Literal["held_out", "training"], FittedLaw | MissingLaw]
    hardest: list[DocumentExcerpt]
    easiest: list[DocumentExcerpt]

    @property
    def preferred(self) -> bool:
        """Whether the tuned model has learned preferences, too."""
        return "tuned" in self.stages and self.stages["tuned"].model == WITH_PREFERENCES

    def other_scripts(self) -> bool:
        """Whether some source has clearly more bytes than characters, so that bits per byte alone
        would set different things side by side.
        """
        return any(
            source.characters and source.bytes > source.characters * (1 + FEW_BYTES_MORE)
            for source in self.sources.values()
        )


def read_loss(path: str | Path) -> LossRecord:
    """loss.json; UserError when it is missing, damaged or of another version."""
    return read_json(path, LossRecord, remedy="delete it and run loss again")
