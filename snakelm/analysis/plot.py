"""The figures and tables of a run: which there are, and what each is drawn from.

    plot_metrics  plot             FIGURES, TABLES            from a RunRecord, and train.bin
    plot_sft      plot_tuning      TUNING_FIGURES, …_TABLES   from a TuningRecord
    plot_preferences  likewise     PREFERENCE_FIGURES, …      from a PreferenceRecord
    plot_compare  plot_comparison  compare_….svg              from the Trainings of several runs
    summarise     summarise        LAST_FIGURES, LAST_TABLES  from a RunRecord, last of all

What evaluation, the tokenizer, the filter and the map leave is drawn from their own files by steps
of their own (plot_loss, plot_tokenizer, plot_filter, visualize_embeddings).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..data.bins import open_bin
from .cost import step_costs
from .figures.compare import compare
from .figures.cost import time_by_step
from .figures.data import document_lengths, draw_funnel, packing
from .figures.preferences import rewards
from .figures.training import bits_per_byte, gradient_norm, learning_rate, loss, throughput
from .funnel import funnel
from .preference_record import PreferenceRecord
from .run_record import RunRecord
from .tables.configuration import write_configuration
from .tables.cost import write_cost
from .tables.preferences import write_preferences
from .tables.samples import write_samples
from .tables.sources import write_sources
from .tables.summary import write_summary
from .tables.tuning import write_answers, write_conversations, write_tuning_samples
from .trainings import Training, pretraining
from .tuning_record import Span, TuningRecord

__all__ = [
    "FIGURES",
    "LAST_FIGURES",
    "LAST_TABLES",
    "PREFERENCE_FIGURES",
    "PREFERENCE_TABLES",
    "TABLES",
    "TUNING_FIGURES",
    "TUNING_TABLES",
    "plot",
    "plot_comparison",
    "plot_preferences",
    "plot_tuning",
    "summarise",
]

T = TypeVar("T")
Drawings = Mapping[str, Callable[[T, Path], None]]  # name of the file → what draws it

FIGURES: Drawings[RunRecord] = {
    "loss": lambda record, path: loss(pretraining(record), path),
    "bits_per_byte": lambda record, path: bits_per_byte(
        pretraining(record), record.baseline.ppmd if record.baseline else None, path
    ),
    "learning_rate": lambda record, path: learning_rate(pretraining(record), path),
    "gradient_norm": lambda record, path: gradient_norm(pretraining(record), path),
    "throughput": lambda record, path: throughput(pretraining(record), path),
    "funnel": lambda record, path: draw_funnel(funnel(record), path),
}
TABLES: Drawings[RunRecord] = {
    "samples": write_samples,
    "sources": write_sources,
}
LAST_FIGURES: Drawings[RunRecord] = {
    "time": lambda record, path: time_by_step(step_costs(record), path),
}
LAST_TABLES: Drawings[RunRecord] = {
    "summary": write_summary,
    "cost": write_cost,
    "configuration": write_configuration,
}
TUNING_FIGURES: Drawings[TuningRecord] = {
    "sft_loss": lambda record, path: loss(record.training, path),
    "sft_learning_rate": lambda record, path: learning_rate(record.training, path),
    "sft_gradient_norm": lambda record, path: gradient_norm(record.training, path),
    "sft_throughput": lambda record, path: throughput(record.training, path),
    "sft_packing": lambda record, path: packing(record.packs, path),
}
TUNING_TABLES: Drawings[TuningRecord] = {
    "answers": write_answers,
    "sft_samples": write_tuning_samples,
}
PREFERENCE_FIGURES: Drawings[PreferenceRecord] = {
    "preference_loss": lambda record, path: loss(record.training, path),
    "preference_rewards": lambda record, path: rewards(record.training, path),
}
PREFERENCE_TABLES: Drawings[PreferenceRecord] = {"preferences": write_preferences}


def plot(
    record: RunRecord, train_bin: str | Path, figures: str | Path, tables: str | Path
) -> list[Path]:
    """Draws the data and the pretraining into ``figures`` and ``tables``; gives the paths.

    Of ``train_bin`` only the index is read: the lengths of its documents.
    """
    # An end-of-text token stands before each document; it isn't part of the length.
    offsets = open_bin(train_bin, verify=False).document_offsets
    lengths_path = Path(figures, "document_lengths.svg")
    document_lengths(np.diff(offsets) - 1, record.config.model.context, lengths_path)

    return [
        *_draw(FIGURES, record, figures, "svg"),
        lengths_path,
        *_draw(TABLES, record, tables, "html"),
    ]


def plot_tuning(
    tuned: TuningRecord,
    examples: Iterable[Sequence[Span]],
    figures: str | Path,
    tables: str | Path,
) -> list[Path]:
    """Draws an instruction tuning; ``examples``: conversations as spans of text, each with whether
    it is learned.
    """
    conversations_path = Path(tables, "conversations.html")
    write_conversations(tuned.packs, tuned.sources, examples, conversations_path)

    return [
        *_draw(TUNING_FIGURES, tuned, figures, "svg"),
        *_draw(TUNING_TABLES, tuned, tables, "html"),
        conversations_path,
    ]


def plot_preferences(
    record: PreferenceRecord, figures: str | Path, tables: str | Path
) -> list[Path]:
    """Draws learning from preferences."""
    return [
        *_draw(PREFERENCE_FIGURES, record, figures, "svg"),
        *_draw(PREFERENCE_TABLES, record, tables, "html"),
    ]


def plot_comparison(trainings: Mapping[str, Sequence[Training]], figures: str | Path) -> list[Path]:
    """Draws several runs over each other: a figure for each kind of training, named by it; this run
    comes first in each.
    """
    paths = {name: Path(figures, f"{name}.svg") for name in trainings}
    for name, path in paths.items():
        compare(trainings[name], path)
    return list(paths.values())


def summarise(record: RunRecord, figures: str | Path, tables: str | Path) -> list[Path]:
    """Writes what can only be said of a finished run: the verdict, what it cost, and what it was
    made of.
    """
    return [
        *_draw(LAST_FIGURES, record, figures, "svg"),
        *_draw(LAST_TABLES, record, tables, "html"),
    ]


def _draw(drawings: Drawings[T], source: T, folder: str | Path, suffix: str) -> list[Path]:
    paths = {name: Path(folder, f"{name}.{suffix}") for name in drawings}
    for name, path in paths.items():
        drawings[name](source, path)
    return list(paths.values())
