"""compare.html: several runs side by side: the outcome of each, and the settings in which they
differ. Runs that were measured on other held-out text stand in a table of their own.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..changed_settings import flat_settings
from ..manifests import TrainingResult, TrainManifest
from ..pages import write_page
from ..trainings import OTHER_CLEAN, ComparedRun
from ..units import duration, human

__all__ = ["write_comparison"]


def write_comparison(runs: Sequence[ComparedRun], path: str | Path) -> None:
    """The page of ``runs``, the first of which is this one."""
    write_page(
        path,
        "compare.html",
        names=[run.training.name for run in runs],
        outcomes=[_outcome(run) for run in runs if "val_bpb" not in run.training.apart],
        apart=[
            (why, [_outcome(run) for run in runs if run.training.apart.get("val_bpb") == why])
            for why in sorted({run.training.apart.get("val_bpb", "") for run in runs} - {""})
        ],
        other_clean=any(
            run.training.apart.get("val_bpb_clean") == OTHER_CLEAN
            for run in runs
            if "val_bpb" not in run.training.apart
        ),
        differences=list(_differences(runs)),
    )


def _outcome(run: ComparedRun) -> list[str]:
    """Name, bits per byte of all and of clean documents, tokens, steps, time, parameters; clean
    ones only where they are those of this run.
    """
    result = run.manifest.result if run.manifest else TrainingResult()
    metrics = run.training.metrics

    bits = [
        metrics.last("val_bpb") if result.val_bpb is None else result.val_bpb,
        metrics.last("val_bpb_clean") if result.val_bpb_clean is None else result.val_bpb_clean,
    ]
    if run.training.apart.get("val_bpb_clean") == OTHER_CLEAN:
        bits[1] = None
    tokens, steps = metrics.last("tokens"), metrics.last("step")
    return [
        run.training.name + ("" if run.manifest else " (unfinished)"),
        *("–" if value is None else f"{value:.4f}" for value in bits),
        human(tokens) if tokens else "–",
        "–" if steps is None else f"{steps:,.0f}",
        duration(metrics.last("seconds")) or "–",
        "–" if result.parameters is None else f"{result.parameters:,}",
    ]


def _differences(runs: Sequence[ComparedRun]) -> Iterator[list[str]]:
    """(key, its value in each run) where finished runs differ; the seed and the hashes of the
    inputs are among the keys.
    """
    settings = [_settings(run.manifest) for run in runs]
    finished = [values for values, run in zip(settings, runs, strict=True) if run.manifest]

    for key in sorted({key for values in settings for key in values}):
        if len({values.get(key, "–") for values in finished}) > 1:
            yield [key, *(values.get(key, "–") for values in settings)]


def _settings(manifest: TrainManifest | None) -> dict[str, str]:
    if manifest is None:
        return {}

    inputs = {Path(file.path).name: file.sha256[:12] for file in manifest.inputs}
    everything = {**manifest.config, "input": inputs}
    if "seed" not in manifest.config.get("train", {}):  # earlier versions had one seed for all
        everything["seed"] = manifest.seed
    return dict(flat_settings(everything))
