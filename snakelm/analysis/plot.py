"""The figures and tables of a run by name: which there are, and what each is made from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..data.bins import open_bin
from .cost import spent
from .figures.compare import compare
from .figures.cost import time_by_step
from .figures.data import document_lengths, draw_funnel
from .figures.packing import packing
from .figures.training import bits_per_byte, gradient_norm, learning_rate, loss, throughput
from .funnel import funnel
from .run_record import Record
from .tables.configuration import write_configuration
from .tables.cost import write_cost
from .tables.samples import write_samples
from .tables.sources import write_sources
from .tables.summary import write_summary
from .tables.tuning import write_answers, write_conversations, write_tuning_samples
from .trainings import Training, pretraining
from .tuned import Tuned

__all__ = [
    "FIGURES",
    "LAST_FIGURES",
    "LAST_TABLES",
    "TABLES",
    "TUNING_FIGURES",
    "plot",
    "plot_comparison",
    "plot_tuning",
    "summarise",
]

Draw = Callable[[Record, Path], None]

FIGURES: dict[str, Draw] = {
    "loss": lambda record, path: loss(pretraining(record), path),
    "bits_per_byte": lambda record, path: bits_per_byte(pretraining(record), record.baseline, path),
    "learning_rate": lambda record, path: learning_rate(pretraining(record), path),
    "gradient_norm": lambda record, path: gradient_norm(pretraining(record), path),
    "throughput": lambda record, path: throughput(pretraining(record), path),
    "funnel": lambda record, path: draw_funnel(funnel(record), path),
}
TABLES: dict[str, Draw] = {"samples": write_samples, "sources": write_sources}
# Made last, of a run's whole record.
LAST_FIGURES: dict[str, Draw] = {"time": lambda record, path: time_by_step(spent(record), path)}
LAST_TABLES: dict[str, Draw] = {
    "summary": write_summary,
    "cost": write_cost,
    "configuration": write_configuration,
}
TUNING_FIGURES: dict[str, Callable[[Training, Path], None]] = {
    "sft_loss": loss,
    "sft_learning_rate": learning_rate,
    "sft_gradient_norm": gradient_norm,
    "sft_throughput": throughput,
}


def plot(
    record: Record, train_bin: str | Path, figures: str | Path, tables: str | Path
) -> list[Path]:
    """Draws the data and the pretraining into ``figures`` and ``tables``; gives the paths.

    Of ``train_bin`` only the index is read: the lengths of its documents.
    """
    written = _draw(FIGURES, record, figures, "svg")
    lengths = (
        np.diff(open_bin(train_bin, verify=False).document_offsets) - 1
    )  # without the end-of-text token
    written.append(Path(figures, "document_lengths.svg"))
    document_lengths(lengths, record.config.model.context, written[-1])
    return written + _draw(TABLES, record, tables, "html")


def summarise(record: Record, figures: str | Path, tables: str | Path) -> list[Path]:
    """Writes what can only be said of a finished run: the verdict, what it cost, and what it was
    made of.
    """
    return _draw(LAST_FIGURES, record, figures, "svg") + _draw(LAST_TABLES, record, tables, "html")


def plot_tuning(
    tuned: Tuned,
    examples: Iterable[Sequence[tuple[str, bool]]],
    figures: str | Path,
    tables: str | Path,
) -> list[Path]:
    """Draws an instruction tuning; ``examples``: conversations as spans of text, each with whether
    it is learned.
    """
    written = _draw(TUNING_FIGURES, tuned.training, figures, "svg")
    written += _draw({"sft_packing": packing}, tuned.packs, figures, "svg")
    written += _draw(
        {"answers": write_answers, "sft_samples": write_tuning_samples}, tuned, tables, "html"
    )
    written.append(Path(tables, "conversations.html"))
    write_conversations(tuned.packs, examples, written[-1])
    return written


def plot_comparison(trainings: Mapping[str, Sequence[Training]], figures: str | Path) -> list[Path]:
    """Draws several runs over each other, a figure for each kind of training; this run stands first
    in each.
    """
    written = []
    for name, some in trainings.items():
        written.append(Path(figures, f"{name}.svg"))
        compare(some, written[-1])
    return written


def _draw(wanted: Mapping[str, Callable], of: object, folder: str | Path, kind: str) -> list[Path]:
    paths = [Path(folder, f"{name}.{kind}") for name in wanted]
    for draw, path in zip(wanted.values(), paths, strict=True):
        draw(of, path)
    return paths
