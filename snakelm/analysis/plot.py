"""All figures and tables of a run: which there are, and what each is made from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..data.bins import open_bin
from .figures.data import document_lengths, draw_funnel
from .figures.training import bits_per_byte, gradient_norm, learning_rate, loss, throughput
from .funnel import funnel
from .record import Record
from .tables.configuration import write_configuration
from .tables.samples import write_samples
from .tables.summary import write_summary

__all__ = ["FIGURES", "TABLES", "plot"]

FIGURES: dict[str, Callable[[Record, Path], None]] = {
    "loss": loss,
    "bits_per_byte": bits_per_byte,
    "learning_rate": learning_rate,
    "gradient_norm": gradient_norm,
    "throughput": throughput,
    "funnel": lambda record, path: draw_funnel(funnel(record), path),
}
TABLES: dict[str, Callable[[Record, Path], None]] = {
    "summary": write_summary,
    "samples": write_samples,
    "configuration": write_configuration,
}


def plot(record: Record, train_bin: str | Path, figures: str | Path, tables: str | Path) -> list[Path]:
    """Writes every figure into ``figures`` and every table into ``tables``; gives their paths.

    Of ``train_bin`` only the index is read: the lengths of its documents.
    """
    written = []
    for name, draw in FIGURES.items():
        written.append(Path(figures, f"{name}.svg"))
        draw(record, written[-1])
    lengths = np.diff(open_bin(train_bin, verify=False).document_offsets) - 1  # without the end-of-text token
    written.append(Path(figures, "document_lengths.svg"))
    document_lengths(lengths, record.config.model.context, written[-1])
    for name, write in TABLES.items():
        written.append(Path(tables, f"{name}.html"))
        write(record, written[-1])
    return written
