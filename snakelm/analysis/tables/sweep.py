"""sweep.html: the settings of a sweep with what each came to, the best first, and each training."""

from collections.abc import Iterator
from pathlib import Path

from ...evaluation.records import Interval
from ...evaluation.sweep_record import Setting, SweepPoint, SweepRecord, Value
from ...workflow.sweep import value_text
from ..pages import write_page
from ..units import duration, human

__all__ = ["MEASURES", "named", "verdict", "write_sweep"]

MEASURES = {
    "val_bpb_clean": "bits per byte of clean held-out documents",
    "val_bpb": "bits per byte of all held-out documents",
}


def write_sweep(record: SweepRecord, path: str | Path) -> None:
    """The page of ``record``."""
    settings = sorted(record.settings, key=lambda setting: setting.mean.value)
    write_page(
        path,
        "sweep.html",
        verdict=list(verdict(record)),
        measure=MEASURES[record.measure],
        varied=record.varied(),
        settings=[_setting(record, setting) for setting in settings],
        keys=record.keys,
        points=[_point(record, point) for point in record.points],
    )


def verdict(record: SweepRecord) -> Iterator[str]:
    """What may be said of the sweep, and what may not, a sentence each."""
    best = record.settings[record.best]
    over = f" (mean of {len(best.runs)} seeds)" if len(best.runs) > 1 else ""
    others = [setting for setting in record.settings if setting.above_best]
    name = named(best.values) if others else "One setting"
    lowest = "lowest with " if others else ""
    yield f"{name}: {lowest}{best.mean.value:.4f} {MEASURES[record.measure]}{over}."
    if not others:
        return

    unknown = [s for s in others if s.above_best and s.above_best.low is None]
    if unknown:
        yield (
            f"{len(unknown)} of the other {len(others)} settings have no two seeds in common with "
            "it, so nobody knows how much of the difference is chance: add seed: [1, 2, 3]."
        )
    level = [s for s in others if s.above_best and s.above_best.low is not None]
    close = [named(s.values) for s in level if s.above_best and (s.above_best.low or 0) <= 0]
    if close:
        yield f"Not told apart from it by these seeds: {'; '.join(close)}."
    if level and len(close) < len(level):
        yield f"Higher beyond chance (95%): {len(level) - len(close)} of {len(level)}."
    yield from _regimes(record)


def _regimes(record: SweepRecord) -> Iterator[str]:
    """Where runs differ in more than their keys say."""
    regimes = [point.regime for point in record.points]
    repeated = regimes.count("repeated")
    if repeated and "fresh" in regimes and "train.regime" not in record.keys:
        yield (
            f"By its epochs train.regime: auto took repeated in {repeated} of {len(regimes)} "
            "trainings and fresh in the others: dropout and average differ between them, too, "
            "where they aren't set."
        )


def named(values: dict[str, Value]) -> str:
    """`train.lr 0.01, model.layers 2`; of a sweep over seeds alone, that."""
    return ", ".join(f"{key} {value_text(value)}" for key, value in values.items()) or "all seeds"


def _setting(record: SweepRecord, setting: Setting) -> list[str]:
    above = setting.above_best
    return [
        *(value_text(setting.values[key]) for key in record.varied()),
        f"{len(setting.runs)}",
        f"{setting.mean.value:.4f}",
        _bounds(setting.mean),
        "lowest" if above is None else f"{above.value:+.4f}",
        "" if above is None else _bounds(above, "+"),
    ]


def _bounds(interval: Interval, sign: str = "") -> str:
    if interval.low is None or interval.high is None:
        return "one seed: none"
    return f"{interval.low:{sign}.4f} to {interval.high:{sign}.4f}"


def _point(record: SweepRecord, point: SweepPoint) -> list[str]:
    return [
        *(value_text(point.values[key]) for key in record.keys),
        f"{point.val_bpb:.4f}",
        "–" if point.val_bpb_clean is None else f"{point.val_bpb_clean:.4f}",
        f"{point.val_loss:.4f}",
        human(point.tokens),
        duration(point.seconds) or "–",
        f"{point.parameters:,}",
    ]
