"""training_metrics.csv and samples.jsonl: their columns, their one writer and their one reader.

The writer appends a row every few steps and at each evaluation. The run's directory holds the
record; the logs folder gets a copy that grows with it. Two, because the logs folder is shared by
runs, and because Snakemake deletes a rule's outputs before the rule starts. A resumed run first
cuts both back to the step it resumes from, so no step is there twice.

The reader takes the files as runs really leave them: empty, cut off in the middle of a line, with
NaN, or from an older version whose resumed runs repeated steps. Of a step that was done twice the
later row counts: it is the one that the final model went through.
"""

import csv
import io
import json
import math
import socket
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..files import open_own, write_text
from ..json_files import JsonError, parse_json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = [
    "COLUMNS",
    "FINETUNING",
    "NO_STEP",
    "PRETRAINING",
    "Metrics",
    "MetricsRow",
    "MetricsWriter",
    "RunFiles",
    "Sample",
    "read_metrics",
    "read_samples",
]


@dataclass(frozen=True)
class MetricsRow:
    """One row of the metrics file; a field that is None is left empty (docs/LOGGING.md)."""

    step: int
    tokens: int | None = None
    epoch: float | None = None
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    val_loss: float | None = None
    val_bpb: float | None = None
    val_bpb_clean: float | None = None


@dataclass(frozen=True)
class Sample:
    """What the model wrote at a step of its training."""

    step: int
    prompt: str
    text: str
    expected: str = ""  # the answer that a held-out conversation has there


@dataclass(frozen=True)
class RunFiles:
    """How pretraining or fine-tuning names its files and columns."""

    section: str  # of the configuration, where its learning rates are
    stem: str  # of checkpoint files
    csv: str
    samples: str
    columns: tuple[str, ...]
    metric: str  # the column that says how good the model is; lower is better
    answers: bool  # whether samples are answers, with the expected one beside them


COLUMNS = tuple(field.name for field in fields(MetricsRow))
UP_TO_LOSS = COLUMNS[: COLUMNS.index("val_loss") + 1]  # bytes are not counted in conversations

PRETRAINING = RunFiles(
    section="train",
    stem="step",
    csv="training_metrics.csv",
    samples="samples.jsonl",
    columns=COLUMNS,
    metric="val_bpb",
    answers=False,
)
FINETUNING = RunFiles(
    section="sft",
    stem="sft_step",
    csv="sft_metrics.csv",
    samples="sft_samples.jsonl",
    columns=UP_TO_LOSS,
    metric="val_loss",
    answers=True,
)

NO_STEP = -1  # before step 0, which has a row of its own where a run evaluates before it trains
BOARD_TAGS = {
    "loss": "loss/train",
    "val_loss": "loss/val",
    "val_bpb": "bpb/val",
    "val_bpb_clean": "bpb/val_clean",
}


class MetricsWriter:
    """Appends the rows and samples of one run, from the step after ``resumed`` on.

    What the record says of later steps is dropped; with NO_STEP, everything.
    """

    def __init__(
        self, run: Path, logs: Path, resumed: int, files: RunFiles = PRETRAINING, board: bool = True
    ) -> None:
        self.folders, self.files = (run, logs), files
        rows = _rows_until(run / files.csv, resumed)
        samples = _samples_until(run / files.samples, resumed)

        header = dict(zip(files.columns, files.columns, strict=True))
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / files.csv, self._csv([header, *rows]))
            write_text(folder / files.samples, "".join(samples))

        self._board = _open_board(logs / "runs" / run.name, resumed) if board else None

    def row(self, row: MetricsRow) -> None:
        """Appends a row."""
        values = {name: getattr(row, name) for name in self.files.columns}
        line = self._csv([{name: _field(value) for name, value in values.items()}])
        for folder in self.folders:
            _append(folder / self.files.csv, line)

        if self._board:
            for name in self.files.columns[2:]:  # step and tokens are the axes
                if values[name] is not None:
                    tag = BOARD_TAGS.get(name, f"run/{name}")
                    self._board.add_scalar(tag, values[name], row.step)

    def sample(self, sample: Sample) -> None:
        """Appends a sample."""
        record = {"step": sample.step, "prompt": sample.prompt, "text": sample.text}
        if self.files.answers:
            record["expected"] = sample.expected
        line = json.dumps(record, ensure_ascii=False) + "\n"
        for folder in self.folders:
            _append(folder / self.files.samples, line)

        if self._board:
            self._board.add_text("sample", sample.prompt + sample.text, sample.step)

    def close(self) -> None:
        """Lets TensorBoard's writer finish."""
        if self._board:
            self._board.close()

    def _csv(self, rows: Sequence[dict[str, str]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.files.columns, lineterminator="\n").writerows(rows)
        return text.getvalue()


@dataclass(frozen=True)
class Metrics:
    """A metrics file as it was read: rows in the order of their steps, each step once."""

    # name → float64 [rows]. NaN: the field is empty. inf: the file has nan or inf.
    columns: dict[str, np.ndarray]
    resumes: tuple[int, ...]  # the first row after each resume, as an index into the rows
    redone: int  # rows left out because a later row did the same step again
    unreadable: int  # lines left out because they aren't numbers, as a kill in mid-write leaves

    def __len__(self) -> int:
        return self.columns["step"].size

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def points(self, name: str, x: str = "tokens") -> tuple[np.ndarray, np.ndarray]:
        """x and y [points] of a column, where both are finite numbers."""
        finite = np.isfinite(self[name]) & np.isfinite(self[x])
        return self[x][finite], self[name][finite]

    def last(self, name: str) -> float | None:
        """The last number in a column; None when it has none."""
        numbers = self[name][np.isfinite(self[name])]
        return float(numbers[-1]) if numbers.size else None

    def best(self, name: str) -> tuple[float, int] | None:
        """The smallest number in a column and its step."""
        if not np.isfinite(self[name]).any():
            return None
        row = int(np.nanargmin(self[name]))
        return float(self[name][row]), int(self["step"][row])

    def non_finite_losses(self) -> int:
        """Rows whose training loss was written as NaN or infinite."""
        return int(np.isinf(self["loss"]).sum())


def read_metrics(path: str | Path) -> Metrics:
    """The metrics file; an empty one gives no rows. UserError when it's another kind of file."""
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines:
        return Metrics({name: np.zeros(0) for name in COLUMNS}, (), 0, 0)

    header = lines[0]
    if "step" not in header:
        found = ", ".join(header)[:80]
        raise UserError(f"{path}: no column `step` (found {found}); expected training_metrics.csv")

    parsed = [_parse(header, line) for line in lines[1:]]
    rows = [row for row in parsed if row is not None]
    for row in rows:
        if row["step"] == 0:  # nothing has run yet that could have a speed
            row.update(tokens_per_second=math.nan, mfu=math.nan)

    kept, resumes = _drop_repeated(rows)
    columns = {
        name: np.array([row.get(name, math.nan) for row in kept], np.float64) for name in COLUMNS
    }
    return Metrics(columns, resumes, len(rows) - len(kept), len(parsed) - len(rows))


def read_samples(path: str | Path) -> list[Sample]:
    """Samples in the order of their steps; of two for the same step and prompt the later one.

    Damaged lines are left out.
    """
    samples: dict[tuple[int, str], Sample] = {}
    for line in Path(path).read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            sample = parse_json(line, Sample)
        except JsonError:
            continue
        samples = {key: old for key, old in samples.items() if old.step <= sample.step}
        samples[sample.step, sample.prompt] = sample
    return sorted(samples.values(), key=lambda sample: sample.step)


def _rows_until(path: Path, step: int) -> list[dict[str, str]]:
    """Rows as they are written, up to ``step``. A kill can leave half a line at the end: it goes,
    and so does any row with too few or too many fields.
    """
    if not path.is_file():
        return []
    complete = path.read_text(encoding="utf-8").rpartition("\n")[0]
    rows = [
        row
        for row in csv.DictReader(io.StringIO(complete))
        if (row.get("step") or "").isdigit() and None not in row.values() and None not in row
    ]
    return [row for row in rows if int(row["step"]) <= step]


def _samples_until(path: Path, step: int) -> list[str]:
    """Lines of the samples file up to ``step``, without damaged ones."""
    if not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        try:
            sample = parse_json(line, Sample)
        except JsonError:
            continue
        if sample.step <= step:
            kept.append(line + "\n")
    return kept


def _parse(header: list[str], line: list[str]) -> dict[str, float] | None:
    """A line as numbers, NaN for an empty field; None when a field isn't a number or there is no
    step.
    """
    if len(line) != len(header):
        return None
    try:
        row = {name: _number(value) for name, value in zip(header, line, strict=True)}
    except ValueError:
        return None
    return row if math.isfinite(row["step"]) else None


def _number(text: str) -> float:
    """NaN stands for an empty field, so a NaN in the file becomes infinite."""
    if not text.strip():
        return math.nan
    value = float(text)
    return math.inf if math.isnan(value) else value


def _drop_repeated(
    rows: list[dict[str, float]],
) -> tuple[list[dict[str, float]], tuple[int, ...]]:
    """Rows without those that a later one goes back behind, and which rows begin a resumed part.

    A resume shows as a step that is no further than the one before, or as a clock that was set
    back.
    """
    kept: list[dict[str, float]] = []
    resumes: list[int] = []
    for row in rows:
        resumed = bool(kept) and (
            row["step"] <= kept[-1]["step"] or row.get("seconds", 0) < kept[-1].get("seconds", 0)
        )
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()

        if resumed:
            resumes = [place for place in resumes if place < len(kept)] + [len(kept)]
        kept.append(row)
    return kept, tuple(resumes)


def _append(path: Path, text: str) -> None:
    with open_own(path, "a") as file:
        file.write(text)


def _field(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _open_board(folder: Path, resumed: int) -> "SummaryWriter | None":
    """TensorBoard's writer; None where the package isn't installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None

    # It names its files by the host. Results are shared, and the host is nobody's business.
    name = socket.gethostname
    socket.gethostname = lambda: "host"
    try:
        return SummaryWriter(folder, purge_step=resumed + 1 if resumed > 0 else None)
    finally:
        socket.gethostname = name
