"""How every figure looks, and how it is written to a file.

An SVG in a report is an image: no outside fonts and no scripts reach it. So letters are outlines,
and a style sheet inside the file swaps colours when the reader's system is dark. matplotlib writes
plain colours into each element, which any viewer shows; the style sheet finds them by their value,
so a viewer without it shows the light figure. A colour that isn't in `DARK` would stay as it is on
dark paper: tests look for one.

Figures are drawn small (5.4 × 3.4 inches) with letters of 10 points and shown larger: on a screen
18 pixels, and at a phone's width, where an image shrinks to fit, still 9 or 10.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, PercentFormatter

from ...files import atomic_path
from ..units import human

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

__all__ = [
    "AXIS",
    "COLOURS",
    "DARK",
    "INK",
    "PAPER",
    "RAMP",
    "bars_only",
    "figure",
    "human",
    "literal",
    "mark",
    "note",
    "percent",
    "save",
    "shortened",
    "thousands",
]

PAPER, INK, AXIS, GRID = "#fffffe", "#1f2329", "#59636f", "#dfe3e8"
# Distinguishable with every common kind of colour vision, and by lightness in grey.
COLOURS = {
    "blue": "#0b6bcb",
    "orange": "#c2540a",
    "green": "#13795b",
    "purple": "#7d4cc2",
    "faint": "#9dc3ee",
}
# From low to high, in steps of lightness: dark is high on light paper, bright is high on dark.
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
RC: dict["RcKeyType", object] = {
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
SCALE = 1.8  # CSS pixels of the figure as shown for a point as drawn


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


def _larger(size: re.Match[str]) -> str:
    """`width="388.8pt"` → `width="700"`: shown larger where there is room; the view box stays."""
    return f'{size[1]}="{float(size[2]) * SCALE:.0f}"'


def _dark() -> str:
    """Rules that find elements by the colour in their style attribute."""
    rules = "".join(
        f'[style*="{attribute}: {light}"]{{{attribute}:{dark}!important}}'
        for light, dark in DARK.items()
        for attribute in ("fill", "stroke")
    )
    return f":root{{color-scheme:light dark}}@media(prefers-color-scheme:dark){{{rules}}}"


def thousands(axis: Axis) -> None:
    """Ticks as 10k, 2M instead of 10000, 2e6."""
    axis.set_major_formatter(FuncFormatter(human))


def percent(axis: Axis) -> None:
    """Ticks as 20% instead of 0.2."""
    axis.set_major_formatter(PercentFormatter(1, decimals=0))


def bars_only(axes: Axes, rows: Sequence[str], offset: float = 0.0) -> None:
    """Horizontal bars with numbers beside them need no axis, grid or frame: only names of ``rows``,
    ``offset`` of a row from its middle.
    """
    axes.set_yticks([row + offset for row in range(len(rows))], rows)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_visible(False)
    axes.grid(False)
    axes.spines[["bottom", "left"]].set_visible(False)


def literal(legend: Legend) -> None:
    """Shows names as they are: matplotlib would take `$` in the name of a source or a run for
    mathematics, and fail.
    """
    for text in legend.get_texts():
        text.set_parse_math(False)


def mark(axes: Axes, positions: Sequence[float], text: str) -> None:
    """Thin dotted vertical lines, the first one named."""
    for i, position in enumerate(positions):
        label = text if i == 0 else None
        axes.axvline(position, color=AXIS, linewidth=1, linestyle=":", label=label)


def shortened(text: str, most: int) -> str:
    """``text``, or its beginning with an ellipsis: ``most`` characters together."""
    return text if len(text) <= most else text[: most - 1] + "…"


def note(axes: Axes, text: str) -> None:
    """A sentence in the middle of a figure that has nothing to show."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=AXIS, wrap=True
    )
