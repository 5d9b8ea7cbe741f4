"""The figure of sweep.json: a dot for each training, the mean of each setting with its interval.

A key with numbers is the horizontal axis, and each combination of the other keys a line; where
there is none, or there would be too many lines, settings stand below each other.
"""

from pathlib import Path

from matplotlib.axes import Axes

from ...evaluation.sweep_record import Setting, SweepRecord
from ..tables.sweep import MEASURES, named
from .style import AXIS, COLOURS, figure, literal, shortened

__all__ = ["draw_sweep"]

LINES = ("blue", "orange", "green", "purple")
DECADE = 8  # ratio of the largest to the smallest value from which an axis is logarithmic


def draw_sweep(record: SweepRecord, path: str | Path) -> None:
    """Draws ``record`` as an SVG."""
    key = _axis(record)
    rows = len(record.settings)
    with figure(path, (5.4, 3.4 if key else 1.2 + 0.4 * max(2, rows))) as drawing:
        axes = drawing.subplots()
        if key:
            _lines(axes, record, key)
        else:
            _rows(axes, record)
        label = f"{MEASURES[record.measure]} (lower is better)"
        axes.set_title(shortened("The sweep: " + (key or "settings"), 48))
        if key:
            axes.set_ylabel("bits per byte, " + ("clean" if "clean" in record.measure else "all"))
        else:
            axes.set_xlabel(label)


def _axis(record: SweepRecord) -> str | None:
    """The first key with two numbers or more whose lines can be told apart."""
    for key in record.varied():
        values = {setting.values[key] for setting in record.settings}
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        if numbers and len(values) > 1 and len(record.settings) / len(values) <= len(LINES):
            return key
    return None


def _lines(axes: Axes, record: SweepRecord, key: str) -> None:
    lines: dict[str, list[Setting]] = {}
    for setting in record.settings:
        others = {name: value for name, value in setting.values.items() if name != key}
        lines.setdefault(named(others) if others else "", []).append(setting)

    ends = [float(setting.values[key]) for setting in record.settings]  # type: ignore[arg-type]
    if min(ends) > 0 and max(ends) / min(ends) >= DECADE:
        axes.set_xscale("log")
    for colour, (name, settings) in zip(LINES, lines.items(), strict=False):
        settings = sorted(settings, key=lambda setting: float(setting.values[key]))  # type: ignore[arg-type]
        x = [float(setting.values[key]) for setting in settings]  # type: ignore[arg-type]
        y = [setting.mean.value for setting in settings]
        axes.plot(x, y, color=COLOURS[colour], marker="o", markersize=5, label=name or None)
        for at, setting in zip(x, settings, strict=True):
            for value in _values(record, setting):
                axes.plot([at], [value], color=COLOURS[colour], marker=".", linestyle="")
            if setting.mean.low is not None and setting.mean.high is not None:
                bounds = [setting.mean.low, setting.mean.high]
                axes.plot([at, at], bounds, color=COLOURS[colour], linewidth=1.2)

    axes.set_xticks(sorted(set(ends)), [f"{end:g}" for end in sorted(set(ends))])
    axes.minorticks_off()
    axes.set_xlabel(key)
    if len(lines) > 1:
        literal(axes.legend())


def _rows(axes: Axes, record: SweepRecord) -> None:
    for row, setting in enumerate(record.settings):
        colour = COLOURS["blue" if row == record.best else "orange"]
        if setting.mean.low is not None and setting.mean.high is not None:
            axes.plot([setting.mean.low, setting.mean.high], [row, row], color=AXIS, linewidth=1.2)
        values = _values(record, setting)
        axes.plot(values, [row] * len(values), color=colour, marker=".", linestyle="")
        axes.plot([setting.mean.value], [row], color=colour, marker="o", linestyle="")

    names = [shortened(named(setting.values), 40) for setting in record.settings]
    axes.set_yticks(range(len(names)), names)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a value may be a text with $
    axes.set_ylim(len(names) - 0.5, -0.5)


def _values(record: SweepRecord, setting: Setting) -> list[float]:
    """The measure of each of its trainings."""
    points = {point.name: point for point in record.points}
    return [float(getattr(points[name], record.measure)) for name in setting.runs]
