"""How every figure looks, and how it is written.

An SVG in a report is an image: no outside fonts and no scripts reach it. So letters are outlines,
and a style sheet inside the file swaps colours when the reader's system is dark. matplotlib writes
plain colours into each element, which any viewer shows; the style sheet finds them by their value,
so a viewer without it shows the light figure.

Figures are drawn small (5.4 × 3.4 inches) with letters of 10 points and shown larger: on a screen
18 pixels, and at a phone's width, where an image shrinks to fit, still 9 or 10.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ...files import atomic_path
from ..units import human

__all__ = ["AXIS", "COLOURS", "INK", "RAMP", "figure", "human", "mark", "note", "save", "thousands"]

PAPER, INK, AXIS, GRID = "#fffffe", "#1f2329", "#59636f", "#dfe3e8"
# Told apart by every common kind of colour vision, and by lightness in grey.
COLOURS = {
    "blue": "#0b6bcb",
    "orange": "#c2540a",
    "green": "#13795b",
    "purple": "#7d4cc2",
    "faint": "#9dc3ee",
}
# From little to much, in steps of lightness: on dark paper much is bright.
RAMP = ("#e8a33d", "#dc6a41", "#b83a72", "#7b35a0", "#332d92")
DARK = {
    PAPER: "#14181d",
    INK: "#e8ecf1",
    AXIS: "#a5b0bd",
    GRID: "#333b45",
    COLOURS["blue"]: "#67b3ff",
    COLOURS["orange"]: "#ff9a52",
    COLOURS["green"]: "#4fcf9f",
    COLOURS["purple"]: "#c3a1ff",
    COLOURS["faint"]: "#2f5680",
    **dict(zip(RAMP, ("#5a4fc4", "#a04fc0", "#dd5c86", "#f39150", "#f7d35c"), strict=True)),
}
RC = {
    "svg.hashsalt": "snakelm",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": AXIS,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": AXIS,
    "ytick.color": AXIS,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
}
SIZE = (5.4, 3.4)  # inches
SHOWN = 1.8  # pixels of the shown figure for a point of the drawn one


@contextmanager
def figure(path: str | Path, size: tuple[float, float] = SIZE) -> Iterator[Figure]:
    """Yields an empty figure in our style; writes it to ``path`` when the block ends well.

    Made without pyplot: no global state, no window system.
    """
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC, "backend": "agg"}):
        drawing = Figure(figsize=size)
        yield drawing
        save(drawing, path)


def save(drawing: Figure, path: str | Path) -> None:
    """Writes an SVG with the dark style sheet; no date, so that the same numbers give the same
    bytes.
    """
    with atomic_path(path) as temporary:
        FigureCanvasSVG(drawing).print_svg(temporary, metadata={"Date": None, "Creator": "snakelm"})
        text = temporary.read_text(encoding="utf-8")
        end = text.index(">", text.index("<svg ")) + 1
        head = re.sub(r'\b(width|height)="([\d.]+)pt"', _larger, text[:end])
        temporary.write_text(f"{head}\n <style>{_dark()}</style>{text[end:]}", encoding="utf-8")


def _larger(size: re.Match) -> str:
    """`width="388.8pt"` → `width="700"`: shown larger where there is room; the view box stays."""
    return f'{size[1]}="{float(size[2]) * SHOWN:.0f}"'


def _dark() -> str:
    rules = "".join(
        f'[style*="fill: {light}"]{{fill:{dark}!important}}[style*="stroke: {light}"]{{stroke:{dark}!important}}'
        for light, dark in DARK.items()
    )
    return f":root{{color-scheme:light dark}}@media(prefers-color-scheme:dark){{{rules}}}"


def thousands(axis) -> None:
    """Ticks as 10k, 2M instead of 10000, 2e6."""
    axis.set_major_formatter(FuncFormatter(human))


def mark(axes: Axes, positions: list[float], text: str) -> None:
    """Thin dotted upright lines, the first one named."""
    for i, position in enumerate(positions):
        axes.axvline(
            position, color=AXIS, linewidth=1, linestyle=":", label=text if i == 0 else None
        )


def note(axes: Axes, text: str) -> None:
    """A sentence in the middle of a figure that has nothing to show."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=AXIS, wrap=True
    )
