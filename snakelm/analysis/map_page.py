"""The map of documents as a page to move about in, one file that works without a network.

The same page is written twice, within two limits of size: map.html for the browser, and one for the
report. A report that is one file shows its pages as data URIs, and Chromium shows none above 2 MB.
Where many documents would exceed the limit, excerpts become shorter, and then some of the documents
are left out, by hash.

The page draws dots on a canvas with a script of its own (templates/map.js). The policy names that
script's hash, so markup that came from a corpus, however it got there, could run nothing. Data is
JSON, gzipped and in base64: a third of the bytes, and no character of a corpus stands in the page's
source; the script puts excerpts into it as text, never as markup.
"""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..evaluation.embeddings.map import DocumentMap
from ..files import write_text
from .colourings import Colouring, by_frequency, colourings, origins
from .figures.style import AXIS, COLOURS, DARK, RAMP
from .pages import UNFIT, render_page

__all__ = ["PAGE_BYTES", "REPORT_BYTES", "write_map_page", "write_report_page"]

PAGE_BYTES = 8_000_000  # of map.html
REPORT_BYTES = 1_500_000  # of the report's page, which base64 makes a third larger
EXCERPTS = (120, 60, 20, 0)  # characters, tried in turn
GRID = 10_000  # steps from the middle of the map to its edge: a coordinate has at most 5 digits
GROUPS = 8  # entries of the legend; the last, grey, stands for all further sources
SOURCE_CHARACTERS, GROUP_CHARACTERS = 60, 24
TICKS = 5

# The figures' colours first, three more, and grey.
PALETTE = {
    "light": [
        *(COLOURS[name] for name in ("blue", "orange", "green", "purple")),
        *("#a8327d", "#6b7d0f", "#0d8394"),
        AXIS,
    ],
    "dark": [
        *(DARK[COLOURS[name]] for name in ("blue", "orange", "green", "purple")),
        *("#f58ad0", "#c3d65c", "#59d4e6"),
        DARK[AXIS],
    ],
}
RAMPS = {"light": list(RAMP), "dark": [DARK[colour] for colour in RAMP]}


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, with the range that the ramp of colours covers."""

    column: str
    label: str
    logarithmic: bool
    values: list[float | None]
    low: float
    high: float
    ticks: list[str]


@dataclass(frozen=True)
class PageData:
    """What map.js draws; lists have one entry per document unless they say otherwise."""

    x: list[int]  # in steps of GRID
    y: list[int]
    radius: float  # of a dot, in CSS pixels
    origin_label: str  # what `origins` are: sources, or packages and files of one source
    origins: list[str]  # the different ones, the most frequent first
    groups: list[str]  # the legend: the first origins, and one entry for the rest
    origin: list[int]  # number of its origin
    held_out: list[bool]
    numbers: list[NumberColumn]  # one a colouring
    excerpts: list[str]
    palette: dict[str, list[str]]
    ramp: dict[str, list[str]]


def write_map_page(documents: DocumentMap, path: str | Path) -> int:
    """Writes map.html, atomically; returns how many documents are on it."""
    return _write(documents, path, PAGE_BYTES)


def write_report_page(documents: DocumentMap, path: str | Path) -> int:
    """Writes the report's page, atomically; returns how many documents are on it."""
    return _write(documents, path, REPORT_BYTES)


def _write(documents: DocumentMap, path: str | Path, limit: int) -> int:
    """The fullest page of at most ``limit`` bytes."""
    for shown, characters in _ever_smaller(documents):
        page = _page(documents, _page_data(documents, shown, characters))
        if len(page.encode()) <= limit:
            write_text(path, page)
            return shown.size

    raise AssertionError("a page without documents fits")


def _ever_smaller(documents: DocumentMap) -> Iterator[tuple[np.ndarray, int]]:
    """(numbers of documents int64 [m], characters of an excerpt): all documents with shorter and
    shorter excerpts, then ever fewer documents.
    """
    for characters in EXCERPTS:
        yield np.arange(len(documents)), characters

    by_hash = documents.by_hash()
    while by_hash.size:
        by_hash = by_hash[: by_hash.size * 3 // 4]
        yield np.sort(by_hash), EXCERPTS[-1]


def _page(documents: DocumentMap, data: PageData) -> str:
    text = json.dumps(asdict(data), ensure_ascii=False, separators=(",", ":"))
    return render_page(
        "map.html",
        shown=len(data.x),
        total=len(documents),
        colourings=[(data.origin_label, "origin"), *((n.label, n.column) for n in data.numbers)],
        # mtime: the same map gives the same bytes.
        data=base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode(),
    )


def _page_data(documents: DocumentMap, shown: np.ndarray, characters: int) -> PageData:
    """``shown``: numbers of the documents on the page, int64 [m]."""
    label, origin_names = origins(documents)
    names = by_frequency(origin_names)
    number = {name: i for i, name in enumerate(names)}
    groups = names
    if len(names) > GROUPS:
        groups = [*names[: GROUPS - 1], f"{len(names) - GROUPS + 1} more"]

    positions = np.round(documents.positions[shown] * GRID).astype(int)
    excerpts = documents.texts("excerpt")
    return PageData(
        x=positions[:, 0].tolist(),
        y=positions[:, 1].tolist(),
        radius=3 if shown.size <= 5000 else 2 if shown.size <= 20_000 else 1.5,
        origin_label=label,
        origins=[_shortened(name, SOURCE_CHARACTERS) for name in names],
        groups=[_shortened(name, GROUP_CHARACTERS) for name in groups],
        origin=[number[origin_names[i]] for i in shown],
        held_out=[bool(held) for held in documents.numbers("held_out")[shown]],
        numbers=[_numbers(documents, colouring, shown) for colouring in colourings(documents)],
        excerpts=[_shortened(excerpts[i], characters) for i in shown],
        palette=PALETTE,
        ramp=RAMPS,
    )


def _numbers(documents: DocumentMap, colouring: Colouring, shown: np.ndarray) -> NumberColumn:
    values = documents.numbers(colouring.column)[shown]
    known = values[np.isfinite(values)]

    # Without the outermost hundredth on either side, or one outlier would take all the colours.
    low, high = np.quantile(known, (0.01, 0.99)) if known.size else (0.0, 1.0)
    if colouring.logarithmic:
        ticks = np.geomspace(max(low, 1), max(high, low + 1, 2), TICKS)
    else:
        ticks = np.linspace(low, high if high > low else low + 1, TICKS)

    return NumberColumn(
        colouring.column,
        colouring.label,
        colouring.logarithmic,
        values=[round(value, 3) if np.isfinite(value) else None for value in values.tolist()],
        low=float(ticks[0]),
        high=float(ticks[-1]),
        ticks=[f"{tick:{colouring.number_format}}" for tick in ticks],
    )


def _shortened(text: str, characters: int) -> str:
    """At most ``characters`` of ``text``, none of which a page may not hold."""
    if len(text) > characters:
        text = text[: characters - 1] + "…" if characters else ""
    return UNFIT.sub("\ufffd", text)
