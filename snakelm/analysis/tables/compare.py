"""compare.html: several runs side by side: what came out of each, and which of their settings
differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..figures.style import human
from ..runs import Run
from ..verdict import seconds_in_words
from .page import element, rows, write_page

__all__ = ["write_comparison"]


def write_comparison(runs: Sequence[Run], path: str | Path) -> None:
    """The page of ``runs``, the first of which is this one."""
    head = ["", "bits per byte", "clean", "tokens", "steps", "time", "parameters"]
    differing = list(_differing(runs))
    write_page(
        path,
        "Runs side by side",
        element("div", rows(head, [_row(run) for run in runs], numbers=range(1, 7)), class_="wide"),
        element(
            "p",
            "Bits per byte of held-out text at the last evaluation; an unfinished run's is of fewer documents.",
        ),
        element("h2", "Settings that differ"),
        element(
            "div", rows(["key", *(run.training.name for run in runs)], differing), class_="wide"
        )
        if differing
        else element("p", "None that the manifests of the finished models tell of.", class_="soft"),
    )


def _row(run: Run) -> list[str | None]:
    result, metrics = run.manifest.get("result") or {}, run.training.metrics
    bits = [result.get(name, metrics.last(name)) for name in ("val_bpb", "val_bpb_clean")]
    tokens, steps, parameters = (
        metrics.last("tokens"),
        metrics.last("step"),
        result.get("parameters"),
    )
    return [
        run.training.name + ("" if run.manifest else " (unfinished)"),
        *("–" if value is None else f"{value:.4f}" for value in bits),
        human(tokens) if tokens else "–",
        f"{steps:,.0f}" if steps is not None else "–",
        seconds_in_words(metrics.last("seconds")),
        f"{parameters:,}" if isinstance(parameters, int) else "–",
    ]


def _differing(runs: Sequence[Run]) -> Iterator[list[str]]:
    """(key, its value in each run) where finished runs don't agree; the seed and the inputs' hashes
    are among them.
    """
    flat = [dict(_flat(_told(run.manifest))) for run in runs]
    for key in sorted({key for values in flat for key in values}):
        values = [values.get(key, "–") for values in flat]
        if len({value for value, run in zip(values, runs, strict=True) if run.manifest}) > 1:
            yield [key, *values]


def _told(manifest: Mapping[str, Any]) -> dict[str, Any]:
    if not manifest:
        return {}
    inputs = {
        Path(str(f.get("path"))).name: str(f.get("sha256"))[:12]
        for f in manifest.get("inputs") or []
    }
    return {**(manifest.get("config") or {}), "seed": manifest.get("seed"), "input": inputs}


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, "–" if value is None else str(value)
