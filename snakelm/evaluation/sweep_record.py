"""sweep.json: what the trainings of a sweep came to."""

from pathlib import Path

from ..json_files import read_json
from ..json_record import JsonRecord
from .records import Interval

__all__ = ["Setting", "SweepPoint", "SweepRecord", "Value", "read_sweep"]

Value = float | int | bool | str | None


class SweepPoint(JsonRecord):
    """One training: the values of its keys, bits per byte of all and of clean held-out documents at
    its last evaluation, nats per token, and what it took. ``regime``: what train.regime came to.
    """

    name: str
    values: dict[str, Value]
    val_bpb: float
    val_bpb_clean: float | None
    val_loss: float
    parameters: int
    tokens: int
    seconds: float
    regime: str | None = None


class Setting(JsonRecord):
    """The trainings that differ in nothing but their seed, in the measure that the sweep is judged
    by. ``above_best``: how much higher than the best setting; None of the best itself.
    """

    values: dict[str, Value]
    runs: list[str]  # names of points
    mean: Interval
    above_best: Interval | None


class SweepRecord(JsonRecord):
    """sweep.json; settings in the order of the configuration."""

    keys: list[str]
    measure: str  # val_bpb_clean, or val_bpb where a point has no clean documents
    points: list[SweepPoint]
    settings: list[Setting]
    best: int  # index of the setting with the lowest mean

    def varied(self) -> list[str]:
        """The keys beside the seed."""
        return [key for key in self.keys if key != "train.seed"]


def read_sweep(path: str | Path) -> SweepRecord:
    """The record that plot_sweep wrote; UserError for a file that isn't one."""
    record: SweepRecord = read_json(
        Path(path), SweepRecord, remedy="delete it and run plot_sweep again"
    )
    return record
