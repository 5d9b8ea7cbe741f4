"""plan.json: what the sizes that a budget allows would come to, and which was chosen."""

from pathlib import Path

from ..config import Config
from ..json_files import read_json
from ..json_record import JsonRecord
from .records import Interval

__all__ = ["PlanRecord", "PlannedSize", "planned_for", "read_plan"]


class PlannedSize(JsonRecord):
    """A size with the steps that the budget has for it; with the fewest, and the reason in
    ``note``, where it can't be had.

    ``bpb``: predicted bits per byte of all held-out documents, with 95% bounds; None where it can't
    be had. ``beyond``: what of the run is larger than in any recorded one, so that the prediction
    is an extrapolation. ``measured``: whether steps of this size were timed, or the time follows
    from operations.
    """

    size: int
    layers: int
    width: int
    vocab_size: int
    parameters: int
    steps: int
    tokens: int
    epochs: float
    memory_bytes: float
    bpb: Interval | None
    beyond: list[str]
    step_seconds: float
    measured: bool
    training_seconds: float  # start, steps and evaluations
    note: str = ""


class PlanRecord(JsonRecord):
    """plan.json; the sizes in ascending order."""

    hours: float
    machine: str
    nodes: int = 1
    processes: int = 1  # on each
    documents: int
    text_bytes: int
    difficulty: float  # bits per byte of xz on a sample of the text
    recorded_text: str  # that the law was measured on
    recorded_runs: int
    sizes: list[PlannedSize]
    chosen: int  # index

    @property
    def choice(self) -> PlannedSize:
        """The size that was chosen."""
        return self.sizes[self.chosen]

    @property
    def shared(self) -> str:
        """What the times of a run in several processes leave out; nothing of one process."""
        if self.nodes * self.processes == 1:
            return ""
        hosts = f" on each of {self.nodes:,} hosts" if self.nodes > 1 else ""
        return (
            f"For {self.processes:,} processes{hosts}: one process was timed with its share of a "
            "batch. What they tell each other, and how they share a host's memory, isn't counted."
        )


def read_plan(path: str | Path) -> PlanRecord:
    """The record that plan wrote; UserError for a file that isn't one."""
    record: PlanRecord = read_json(
        Path(path), PlanRecord, remedy="delete it and run snakemake plan again"
    )
    return record


def planned_for(path: str | Path, config: Config) -> bool:
    """Whether the plan in ``path`` is that of this run: its size and its steps; UserError for a
    file that isn't a plan.
    """
    if config.size is None or not Path(path).is_file():
        return False
    choice = read_plan(path).choice
    return (choice.size, choice.steps) == (config.size, config.train.steps)
