"""samples.html: what the model wrote at each evaluation, the newest first."""

from pathlib import Path

import numpy as np

from ...training.metrics import Metrics, Sample
from ..run_record import Record
from .page import Html, element, write_page

__all__ = ["write_samples"]


def write_samples(record: Record, path: str | Path) -> None:
    """The page of samples; says so when there are none."""
    if not record.samples:
        write_page(
            path,
            "Samples",
            element("p", "This run has written no samples (train.sample_tokens: 0, or too short)."),
        )
        return
    intro = element(
        "p",
        "The same prompt, gone on from by the model at each evaluation. First it is noise, then words, then sentences;"
        " the newest stands first. The prompt is grey.",
        class_="soft",
    )
    write_page(
        path, "Samples", intro, [_sample(s, record.metrics) for s in reversed(record.samples)]
    )


def _sample(sample: Sample, metrics: Metrics) -> Html:
    return element(
        "section",
        element(
            "h2",
            f"Step {sample.step:,}",
            element("span", _losses(sample.step, metrics), class_="soft"),
        ),
        element("pre", element("span", sample.prompt, class_="prompt"), sample.text),
    )


def _losses(step: int, metrics: Metrics) -> str:
    """` · training loss 3.21 · 1.14 bits per byte`, as far as the metrics know that step."""
    row = np.flatnonzero(metrics["step"] == step)
    named = (("loss", "training loss {:.2f}"), ("val_bpb", "{:.3f} bits per byte"))
    values = [(words, float(metrics[name][row[0]])) for name, words in named if row.size]
    return "".join(f" · {words.format(value)}" for words, value in values if np.isfinite(value))
