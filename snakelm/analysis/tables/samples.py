"""samples.html: what the model wrote at each evaluation, the newest first."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...training.metrics_reader import Metrics, Sample
from ..pages import write_page
from ..run_record import RunRecord

__all__ = ["write_samples"]


@dataclass(frozen=True)
class ShownSample:
    """A sample, and what the metrics say of its step."""

    step: int
    prompt: str
    text: str
    scores: list[str]


def write_samples(record: RunRecord, path: str | Path) -> None:
    """The page of samples; says so when there are none."""
    samples = [_shown(sample, record.metrics) for sample in reversed(record.samples)]
    write_page(path, "samples.html", samples=samples)


def _shown(sample: Sample, metrics: Metrics) -> ShownSample:
    return ShownSample(sample.step, sample.prompt, sample.text, _scores(sample.step, metrics))


def _scores(step: int, metrics: Metrics) -> list[str]:
    """`training loss 3.21`, `1.14 bits per byte`, as far as the metrics know that step."""
    row = np.flatnonzero(metrics["step"] == step)
    if not row.size:
        return []

    named = (("loss", "training loss {:.2f}"), ("val_bpb", "{:.3f} bits per byte"))
    values = [(words, float(metrics[name][row[0]])) for name, words in named]
    return [words.format(value) for words, value in values if np.isfinite(value)]
