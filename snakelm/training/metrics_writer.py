"""The one writer of a run's metrics and samples (metrics.py has their columns and their reader).

It has the run's record in memory, and every checkpoint holds it as far as that step, so a resumed
run knows what was written whatever has become of the files. A row goes to two of them as it comes,
in the run's directory and in the logs folder, which is shared by runs, and whose files Snakemake
deletes as a rule's outputs before the rule starts. When a run starts, resumes or ends, both are
written whole: no step is there twice, and what another start has deleted is back.
"""

import json
import math
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ..files import open_own, write_text
from ..json_files import JsonError, parse_json
from .metrics import (
    PRETRAINING,
    MetricsRow,
    RunFiles,
    Sample,
    fields_of,
    parse_row,
    read_text,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["NO_STEP", "LogTexts", "MetricsWriter", "last_step"]

NO_STEP = -1  # before step 0, which has a row of its own where a run evaluates before it trains
BOARD_TAGS = {
    "loss": "loss/train",
    "val_loss": "loss/val",
    "val_bpb": "bpb/val",
    "val_bpb_clean": "bpb/val_clean",
}


class LogTexts(TypedDict):
    """The texts of a run's metrics file and samples file, as checkpoints hold them."""

    metrics: str
    samples: str


class MetricsWriter:
    """Appends the rows and samples of one run, from the step after ``resumed`` on.

    ``board``: what TensorBoard calls the run; None for no files of its own. What the record says of
    later steps is dropped; with NO_STEP, everything. ``record``: that of
    the checkpoint; None for one of an earlier version, whose record is in the run's files.
    """

    def __init__(
        self,
        run: Path,
        logs: Path,
        resumed: int,
        files: RunFiles = PRETRAINING,
        board: str | None = None,
        record: LogTexts | None = None,
    ) -> None:
        self.folders, self.files = (run, logs), files
        known = record or _logs_of(run, files)
        self._rows = _rows_until(known["metrics"], resumed, files.columns)
        self._samples = _samples_until(known["samples"], resumed)

        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
        self._write_whole()
        self._board = self._opened_board(logs / "runs" / board, resumed) if board else None

    def record(self) -> LogTexts:
        """Everything up to now, for a checkpoint."""
        rows = [",".join(self.files.columns) + "\n", *self._rows]
        return {"metrics": "".join(rows), "samples": "".join(self._samples)}

    def row(self, row: MetricsRow) -> None:
        """Appends a row."""
        values = {name: getattr(row, name) for name in self.files.columns}
        line = ",".join(map(_field, values.values())) + "\n"
        self._rows.append(line)
        for folder in self.folders:
            _append(folder / self.files.csv, line)

        if self._board:
            self._draw(self._board, values)

    def sample(self, sample: Sample) -> None:
        """Appends a sample."""
        record = {"step": sample.step, "prompt": sample.prompt, "text": sample.text}
        if self.files.answers:
            record["expected"] = sample.expected
        line = json.dumps(record, ensure_ascii=False) + "\n"
        self._samples.append(line)
        for folder in self.folders:
            _append(folder / self.files.samples, line)

        if self._board:
            _show(self._board, sample)

    def close(self) -> None:
        """Writes both files whole once more: another start may have deleted or damaged what this
        run has written. Lets TensorBoard's writer finish.
        """
        self._write_whole()
        if self._board:
            self._board.close()

    def _opened_board(self, folder: Path, resumed: int) -> "SummaryWriter | None":
        """TensorBoard's writer. Where the run has no file of it, because another one began it or
        the file was deleted, what is known of earlier steps goes in first.
        """
        begun = any(folder.glob("events.*"))
        board = _open_board(folder, resumed)
        if board and not begun:
            for line in self._rows:
                row = parse_row(list(self.files.columns), line.rstrip("\n").split(","))
                if row:
                    self._draw(board, row)
            for line in self._samples:
                _show(board, parse_json(line, Sample))
        return board

    def _draw(self, board: "SummaryWriter", values: Mapping[str, Any]) -> None:
        """A row as points; step and tokens, the first two columns, are the axes."""
        for name in self.files.columns[2:]:
            value = values.get(name)
            if value is not None and not math.isnan(value):
                tag = BOARD_TAGS.get(name, f"run/{name}")
                board.add_scalar(tag, value, int(values["step"]))

    def _write_whole(self) -> None:
        record = self.record()
        for folder in self.folders:
            write_text(folder / self.files.csv, record["metrics"])
            write_text(folder / self.files.samples, record["samples"])


def last_step(run: Path, files: RunFiles) -> int:
    """How far the metrics in a run's folder go; 0 where there are none."""
    rows = _rows_until(_logs_of(run, files)["metrics"], None, files.columns)
    return int(rows[-1].partition(",")[0]) if rows else 0


def _logs_of(run: Path, files: RunFiles) -> LogTexts:
    """What lies in a run's folder, whole lines of it: a kill can leave half a one."""
    found = [run / files.csv, run / files.samples]
    texts = [read_text(path) if path.is_file() else "" for path in found]
    metrics, samples = (text[: text.rfind("\n") + 1] for text in texts)
    return {"metrics": metrics, "samples": samples}


def _rows_until(text: str, step: int | None, columns: Sequence[str]) -> list[str]:
    """Rows up to ``step``, or all, as they are written, without those that aren't numbers."""
    lines = fields_of(text)
    header = lines[0] if lines and "step" in lines[0] else list(columns)
    kept = []
    for line in lines:
        numbers = parse_row(header, line)
        if numbers is not None and (step is None or numbers["step"] <= step):
            named = dict(zip(header, line, strict=True))
            kept.append(",".join(named.get(name, "") for name in columns) + "\n")
    return kept


def _samples_until(text: str, step: int) -> list[str]:
    """Lines of the samples file up to ``step``, without damaged ones."""
    kept = []
    for line in text.split("\n"):
        try:
            sample = parse_json(line, Sample)
        except JsonError:
            continue
        if sample.step <= step:
            kept.append(line + "\n")
    return kept


def _append(path: Path, text: str) -> None:
    with open_own(path, "a") as file:
        file.write(text)


def _field(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _show(board: "SummaryWriter", sample: Sample) -> None:
    board.add_text("sample", sample.prompt + sample.text, sample.step)


def _open_board(folder: Path, resumed: int) -> "SummaryWriter | None":
    """TensorBoard's writer, which takes back what an earlier start showed of steps after
    ``resumed``; None where the package isn't installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None

    # It names its files by the host. Results are shared, and the host is nobody's business.
    name = socket.gethostname
    socket.gethostname = lambda: "host"
    try:
        return SummaryWriter(folder, purge_step=resumed + 1)
    finally:
        socket.gethostname = name
