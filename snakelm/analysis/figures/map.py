"""The map of documents as a figure, once for each thing that it is coloured by.

A dot is a line of no length with a round end, and all dots of one colour are one path whose numbers
have one decimal: a tenth of the bytes of matplotlib's scatter, so a report stays small and a phone
draws it at once. Axes have no ticks: only what is near what has a meaning. Numbers are shown in
five classes of equally many documents, for a scale of equal steps would give nearly all documents
one colour and a few long ones the others.

Drawn are at most 6,000 documents, every n-th by hash; the page shows them all.
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
from ...evaluation.embeddings.map import COLOURINGS, Colouring, Map, by_size
from .style import AXIS, COLOURS, RAMP, figure, note

__all__ = ["draw_map", "map_by_number", "map_by_source"]

MOST = 6000  # dots
CENTRE, RADIUS = (116, 110), 106  # of the dots' square, in points of the figure's 389 × 245
NAMED = ("blue", "orange", "green", "purple")  # colours of the sources with most documents
NAME_CHARACTERS = 20
DOT = 2.0  # points


@dataclass(frozen=True)
class Group:
    """Dots of one colour: what the legend says, and which."""

    words: str
    colour: str
    chosen: np.ndarray  # bool [n]


def draw_map(documents: Map, path: str | Path) -> None:
    """Draws what the file's name asks for: `map_source.svg`, or `map_` and the column of one of
    COLOURINGS.
    """
    by = Path(path).stem.removeprefix("map_")
    if by == "source":
        return map_by_source(documents, path)
    for colouring in COLOURINGS:
        if colouring.column == by:
            return map_by_number(documents, colouring, path)
    raise UserError(
        f"{path}: expected one of map_source.svg, {', '.join(f'map_{c.column}.svg' for c in COLOURINGS)}"
    )


def map_by_source(documents: Map, path: str | Path) -> None:
    """Draws the map with a colour for each of the four largest sources (or packages, files), grey
    for all others.
    """
    by, origins = documents.origins()
    names, source = by_size(origins), np.array(origins)
    groups = [
        Group(_short(name), COLOURS[colour], source == name)
        for name, colour in zip(names, NAMED, strict=False)
    ]
    if others := names[len(NAMED) :]:
        groups.insert(0, Group(f"{len(others)} more", AXIS, np.isin(source, others)))
    _draw(documents, by, groups, path)


def map_by_number(documents: Map, colouring: Colouring, path: str | Path) -> None:
    """Draws the map in five shades of a column of numbers; documents without one are grey."""
    values = documents.numbers(colouring.column)
    known = np.isfinite(values)
    groups = [Group("not known", AXIS, ~known)] if not known.all() else []
    if known.any():
        bounds = np.quantile(values[known], np.linspace(0, 1, len(RAMP) + 1))
        steps = np.clip(np.searchsorted(bounds[1:-1], values, "right"), 0, len(RAMP) - 1)
        for step, colour in enumerate(RAMP):
            words = f"{bounds[step]:{colouring.written}} – {bounds[step + 1]:{colouring.written}}"
            groups.append(Group(words, colour, known & (steps == step)))
    _draw(documents, colouring.words, groups, path)


def _draw(documents: Map, by: str, groups: Sequence[Group], path: str | Path) -> None:
    with figure(path) as drawing:
        drawing.set_layout_engine("none")
        dots, all_of_it = drawing.add_axes((0, 0, 1, 1)), drawing.add_axes((0, 0, 1, 1))
        for axes in (dots, all_of_it):
            axes.set_axis_off()
        if not len(documents):
            note(all_of_it, "No documents.")
            return
        drawn = _drawn(documents)
        places = documents.places[drawn] * RADIUS + CENTRE
        for group in groups:
            _dots(dots, places[group.chosen[drawn]], group.colour)
        all_of_it.text(
            0.015, 0.975, _title(drawn.size, len(documents), by), va="top", weight="bold", size=11
        )
        _legend(all_of_it, [group for group in groups if group.chosen.any()])


def _title(drawn: int, there: int, by: str) -> str:
    """`6,000 of 29,010 documents by source`."""
    return (
        f"{drawn:,}{f' of {there:,}' if drawn < there else ''} document{'s' * (there != 1)} by {by}"
    )


def _drawn(documents: Map) -> np.ndarray:
    """Numbers of the documents that are drawn, in no order that says anything: those with the
    smallest ids.
    """
    order = np.argsort(documents.columns["id"].to_numpy(), kind="stable")
    return order[:MOST]


def _dots(axes: Axes, places: np.ndarray, colour: str) -> None:
    """``places`` [n, 2] in points of the figure (an SVG is drawn at 72 to the inch), as one
    path.
    """
    if not len(places):
        return
    rounded = np.repeat(np.round(places, 1), 2, axis=0)
    codes = np.tile(np.array([Outline.MOVETO, Outline.LINETO], np.uint8), len(places))
    outline = Outline(rounded, codes)
    outline.should_simplify = False
    lines = PathCollection(
        [outline],
        facecolors="none",
        edgecolors=colour,
        linewidths=DOT,
        capstyle="round",
        transform=IdentityTransform(),
    )
    axes.add_collection(lines, autolim=False)


def _legend(axes: Axes, groups: Sequence[Group]) -> None:
    marks = [
        Line2D([], [], linestyle="", marker="o", markersize=6, color=group.colour)
        for group in groups
    ]
    legend = axes.legend(
        marks,
        [group.words for group in groups],
        loc="center left",
        bbox_to_anchor=(0.62, 0.46),
        handletextpad=0.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _short(name: str) -> str:
    """A name that has a legend's room, and only what letters there are for: our own font warns of
    the others.
    """
    seen = "".join(c if c.isprintable() else " " for c in name)
    return seen if len(seen) <= NAME_CHARACTERS else seen[: NAME_CHARACTERS - 1] + "…"
