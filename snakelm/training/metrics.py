"""What a run leaves to be plotted: a file of metrics, one of samples, TensorBoard's files; a Kind
has their names.

The run's directory holds the whole record; the logs folder gets a copy that grows with it. Two,
because the logs folder is shared by runs, and because Snakemake deletes a rule's outputs before the
rule goes on. A resumed run first cuts both back to the step it resumes from, so no step stands
there twice.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import write_text

__all__ = ["COLUMNS", "NOTHING", "PRETRAINING", "TUNING", "Kind", "Metrics"]

COLUMNS = (
    "step",
    "tokens",
    "epoch",
    "loss",
    "lr",
    "grad_norm",
    "tokens_per_second",
    "mfu",
    "seconds",
    "cpu_seconds",
    "val_loss",
    "val_bpb",
    "val_bpb_clean",
)
NOTHING = -1
BOARD_TAGS = {
    "loss": "loss/train",
    "val_loss": "loss/val",
    "val_bpb": "bpb/val",
    "val_bpb_clean": "bpb/val_clean",
}


@dataclass(frozen=True)
class Kind:
    """A kind of training: its section of the configuration, its files' names, its columns, which of
    them judges it.
    """

    section: str
    stem: str  # of checkpoint files
    csv: str
    samples: str
    columns: tuple[str, ...]
    judged: str


PRETRAINING = Kind("train", "step", "training_metrics.csv", "samples.jsonl", COLUMNS, "val_bpb")
TUNING = Kind(
    "sft",
    "sft_step",
    "sft_metrics.csv",
    "sft_samples.jsonl",
    COLUMNS[: COLUMNS.index("val_loss") + 1],
    "val_loss",
)


class Metrics:
    """Rows and samples of one run, from the step after ``resumed``; NOTHING keeps none, not even
    those of step 0.
    """

    def __init__(
        self, run: Path, logs: Path, resumed: int, kind: Kind = PRETRAINING, board: bool = True
    ) -> None:
        self.folders, self.kind = (run, logs), kind
        rows = [r for r in _read_rows(run / kind.csv) if int(r["step"]) <= resumed]
        samples = [s for s in _read_samples(run / kind.samples) if s["step"] <= resumed]
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(
                folder / kind.csv,
                self._csv([dict(zip(kind.columns, kind.columns, strict=True)), *rows]),
            )
            write_text(folder / kind.samples, "".join(_json_line(s) for s in samples))
        self._board = _open_board(logs / "runs" / run.name, resumed) if board else None

    def row(self, **values: float | None) -> None:
        """Appends a row; columns left out are empty."""
        line = self._csv([{name: _shown(values.get(name)) for name in self.kind.columns}])
        for folder in self.folders:
            _append(folder / self.kind.csv, line)
        if self._board:
            for name in self.kind.columns[2:]:
                if values.get(name) is not None:
                    self._board.add_scalar(
                        BOARD_TAGS.get(name, f"run/{name}"), values[name], values["step"]
                    )

    def sample(self, step: int, prompt: str, text: str, **more: str) -> None:
        """Appends a generated sample."""
        for folder in self.folders:
            _append(
                folder / self.kind.samples,
                _json_line({"step": step, "prompt": prompt, "text": text, **more}),
            )
        if self._board:
            self._board.add_text("sample", prompt + text, step)

    def _csv(self, rows: list[dict[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.kind.columns, lineterminator="\n").writerows(rows)
        return text.getvalue()

    def close(self) -> None:
        """Lets TensorBoard's writer finish."""
        if self._board:
            self._board.close()


def _read_rows(path: Path) -> list[dict[str, str]]:
    """Whole rows only: a kill can leave half a line at the end."""
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    rows = csv.DictReader(io.StringIO(whole))
    return [
        r
        for r in rows
        if (r.get("step") or "").isdigit() and None not in r.values() and None not in r
    ]


def _read_samples(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [
        json.loads(line)
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]
        if line.endswith("}")
    ]


def _append(path: Path, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def _json_line(sample: dict[str, Any]) -> str:
    return json.dumps(sample, ensure_ascii=False) + "\n"


def _shown(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"


def _open_board(folder: Path, resumed: int) -> Any:
    """TensorBoard's writer; None where the package isn't installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=resumed + 1 if resumed > 0 else None)
