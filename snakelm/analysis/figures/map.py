"""The map of documents as a figure, once for each thing that it is coloured by.

A dot is a line of no length with a round end, and all dots of one colour are one path whose numbers
have one decimal: a tenth of the bytes of matplotlib's scatter, so a report stays small and a phone
draws it at once. Axes have no ticks: only which documents are near each other has a meaning.

Numbers are shown in five classes of equally many documents: on a scale of equal steps nearly all
documents would have one colour and a few long ones the others.

At most 6,000 documents are drawn, a random sample of larger maps; the page shows them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from matplotlib.path import Path as Outline
from matplotlib.transforms import IdentityTransform

from ...errors import UserError
from ...evaluation.embeddings.map import DocumentMap
from ..colourings import COLOURINGS, Colouring, by_frequency, origins
from .style import AXIS, COLOURS, RAMP, figure, literal, note

__all__ = ["draw_map", "map_by_number", "map_by_source"]

MAX_DOTS = 6000
CENTRE, RADIUS = (116, 110), 106  # of the dots' square, in points of the figure's 389 × 245
SOURCE_COLOURS = ("blue", "orange", "green", "purple")  # of the sources with most documents
NAME_CHARACTERS = 20
DOT = 2.0  # points


@dataclass(frozen=True)
class DotGroup:
    """Dots of one colour, with the text of their legend entry."""

    label: str
    colour: str
    members: np.ndarray  # bool [n]


def draw_map(documents: DocumentMap, path: str | Path) -> None:
    """Draws the map that the file's name says: `map_source.svg`, or `map_` and the column of one of
    COLOURINGS.
    """
    column = Path(path).stem.removeprefix("map_")
    if column == "source":
        return map_by_source(documents, path)

    for colouring in COLOURINGS:
        if colouring.column == column:
            return map_by_number(documents, colouring, path)

    names = ", ".join(f"map_{colouring.column}.svg" for colouring in COLOURINGS)
    raise UserError(f"{path}: expected one of map_source.svg, {names}")


def map_by_source(documents: DocumentMap, path: str | Path) -> None:
    """Draws the map with a colour for each of the four largest sources (or packages, or files),
    grey for all others.
    """
    label, origin_names = origins(documents)
    names, origin = by_frequency(origin_names), np.array(origin_names)
    groups = [
        DotGroup(_short(name), COLOURS[colour], origin == name)
        for name, colour in zip(names, SOURCE_COLOURS, strict=False)
    ]
    if others := names[len(SOURCE_COLOURS) :]:
        groups.append(DotGroup(f"{len(others)} more", AXIS, np.isin(origin, others)))
    _draw(documents, label, groups, path)


def map_by_number(documents: DocumentMap, colouring: Colouring, path: str | Path) -> None:
    """Draws the map in five shades of a column of numbers; documents without one are grey."""
    values = documents.numbers(colouring.column)
    known = np.isfinite(values)
    groups = []

    if known.any():
        bounds = np.quantile(values[known], np.linspace(0, 1, len(RAMP) + 1))
        # NaN sorts last, into the top class: `known` takes it out.
        classes = np.clip(np.searchsorted(bounds[1:-1], values, "right"), 0, len(RAMP) - 1)
        for k, colour in enumerate(RAMP):
            low, high = (f"{bound:{colouring.number_format}}" for bound in bounds[k : k + 2])
            groups.append(DotGroup(f"{low} – {high}", colour, known & (classes == k)))
    if not known.all():
        groups.append(DotGroup("not known", AXIS, ~known))
    _draw(documents, colouring.label, groups, path)


def _draw(documents: DocumentMap, label: str, groups: Sequence[DotGroup], path: str | Path) -> None:
    with figure(path) as drawing:
        drawing.set_layout_engine("none")
        dots, canvas = drawing.add_axes((0, 0, 1, 1)), drawing.add_axes((0, 0, 1, 1))
        for axes in (dots, canvas):
            axes.set_axis_off()
        if not len(documents):
            note(canvas, "No documents.")
            return

        drawn = documents.by_hash()[:MAX_DOTS]
        points = documents.positions[drawn] * RADIUS + CENTRE
        for group in sorted(groups, key=lambda group: group.colour != AXIS):  # grey undermost
            _dots(dots, points[group.members[drawn]], group.colour)

        title = _title(drawn.size, len(documents), label)
        canvas.text(0.015, 0.975, title, va="top", weight="bold", size=11)
        _legend(canvas, [group for group in groups if group.members.any()])


def _title(drawn: int, total: int, label: str) -> str:
    """`6,000 of 29,010 documents by source`."""
    count = f"{drawn:,} of {total:,}" if drawn < total else f"{total:,}"
    return f"{count} document{'s' * (total != 1)} by {label}"


def _dots(axes: Axes, points: np.ndarray, colour: str) -> None:
    """``points`` [n, 2] in points of the figure (matplotlib draws an SVG at 72 to the inch), as one
    path.
    """
    if not len(points):
        return

    vertices = np.repeat(np.round(points, 1), 2, axis=0)
    codes = np.tile(np.array([Outline.MOVETO, Outline.LINETO], np.uint8), len(points))
    outline = Outline(vertices, codes)
    outline.should_simplify = False  # it would drop lines of no length
    lines = PathCollection(
        [outline],
        facecolors="none",
        edgecolors=colour,
        linewidths=DOT,
        capstyle="round",
        transform=IdentityTransform(),
    )
    axes.add_collection(lines, autolim=False)


def _legend(axes: Axes, groups: Sequence[DotGroup]) -> None:
    marks = [
        Line2D([], [], linestyle="", marker="o", markersize=6, color=group.colour)
        for group in groups
    ]
    legend = axes.legend(
        marks,
        [group.label for group in groups],
        loc="center left",
        bbox_to_anchor=(0.62, 0.46),
        handletextpad=0.2,
    )
    literal(legend)


def _short(name: str) -> str:
    """A name as long as the legend has room for, without the characters that matplotlib's font has
    no glyph for and would warn of.
    """
    printable = "".join(c if c.isprintable() else " " for c in name)
    if len(printable) <= NAME_CHARACTERS:
        return printable
    return printable[: NAME_CHARACTERS - 1] + "…"
