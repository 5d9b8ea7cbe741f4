"""The map of documents to move about in, as files that work without a network: map.html, and one
for the report.

map.html has plotly inside and the documents with it, both compressed, which makes of 4.8 MB and
more less than 2; the browser unpacks them. Its policy names the SHA-256 of the two scripts that may
run, ours and plotly's: markup that came from a corpus, however it got there, could not. plotly's
WebGL compiles its drawing code when it draws, and shows nothing without `unsafe-eval` (tried); that
lets those two scripts make code and nothing else, and no words of a corpus are handed to plotly.

A report that is one file shows pages by data URIs, and Chromium shows none of more than 2 MB:
plotly alone is larger. So the report's page draws the same dots on a canvas, with a script of ours
alone and no eval.

Where many documents would make a file too large, excerpts become shorter, and then a part of the
documents is left out, by hash.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from plotly.offline import get_plotlyjs

from ...evaluation.embeddings.map import Colouring, Map, by_size
from ...files import write_text
from ..figures.style import AXIS, COLOURS, DARK, RAMP
from ..tables.page import STYLE as PAGE_STYLE
from ..tables.page import UNFIT, Html, element
from .script import CANVAS, PLOTLY, STYLE

__all__ = ["LARGEST", "LARGEST_IN_REPORT", "write_map_page", "write_report_page"]

LARGEST = 8_000_000  # bytes of map.html
LARGEST_IN_REPORT = 1_500_000  # bytes, of which base64 makes a third more
EXCERPTS = (120, 60, 20, 0)  # characters, tried in turn
GRID = 10_000  # steps of a place from the middle to the edge
GROUPS = 8  # entries of the legend; of more sources the last, grey, stands for the rest
HUES = [COLOURS[name] for name in ("blue", "orange", "green", "purple")] + [
    "#a8327d",
    "#6b7d0f",
    "#0d8394",
    AXIS,
]
DARK_HUES = [DARK[hue] for hue in HUES[:4]] + ["#f58ad0", "#c3d65c", "#59d4e6", DARK[AXIS]]
EVAL = " 'unsafe-eval'"


def write_map_page(documents: Map, path: str | Path) -> int:
    """Writes the page with plotly, atomically; gives how many documents are on it."""
    library = get_plotlyjs()
    block = element("script", _packed(library), type="text/plain", id="plotly")
    return _write(documents, path, LARGEST, (PLOTLY, library), block)


def write_report_page(documents: Map, path: str | Path) -> int:
    """Writes the report's page, atomically; gives how many documents are on it."""
    return _write(documents, path, LARGEST_IN_REPORT, (CANVAS,), None)


def _write(
    documents: Map, path: str | Path, largest: int, scripts: Sequence[str], block: Html | None
) -> int:
    """``scripts``: that may run, the page's own first; ``block``: what else the page carries."""
    for chosen, characters in _smaller(documents):
        page = _page(documents, chosen, characters, scripts, block)
        if len(page.encode()) <= largest:
            write_text(path, page)
            return chosen.size
    raise AssertionError("a page without documents fits")


def _smaller(documents: Map) -> Iterator[tuple[np.ndarray, int]]:
    """(numbers of documents, characters of an excerpt): all and long, then shorter, then ever
    fewer.
    """
    by_hash = np.argsort(documents.columns["id"].to_numpy(), kind="stable")
    everything = np.arange(len(documents))
    yield from ((everything, characters) for characters in EXCERPTS)
    while by_hash.size:
        by_hash = by_hash[: by_hash.size * 3 // 4]
        yield np.sort(by_hash), EXCERPTS[-1]


def _page(
    documents: Map, chosen: np.ndarray, characters: int, scripts: Sequence[str], block: Html | None
) -> str:
    words = json.dumps(
        _data(documents, chosen, characters), ensure_ascii=False, separators=(",", ":")
    )
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}{EVAL if block else ''}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        Html(
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        ),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("title", "The map of documents"),
        Html(f"<style>{PAGE_STYLE}{STYLE}</style>"),
    )
    body = element(
        "body",
        element("header", element("h1", "The map of documents"), _told(documents, chosen)),
        _toggles(documents),
        element("main", element("div", _place(), element("div", id="scale")), _card()),
        block,
        element("script", _packed(words), type="text/plain", id="data"),
        Html(f"<script>{scripts[0]}</script>"),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _told(documents: Map, chosen: np.ndarray) -> Html:
    count = (
        f"{chosen.size:,}"
        if chosen.size == len(documents)
        else f"{chosen.size:,} of {len(documents):,}"
    )
    how = "Point at a dot or touch it; wheel or two fingers zoom, a double click shows all."
    return element("span", f"{count} documents. {how}", class_="soft")


def _toggles(documents: Map) -> Html:
    """One radio button for each colouring; the first is chosen."""
    choices = [
        ("source", documents.origins()[0]),
        *((c.column, c.words) for c in documents.colourings()),
    ]
    buttons = []
    for i, (column, words) in enumerate(choices):
        given = {
            "type": "radio",
            "name_": "by",
            "value": column,
            **({"checked": "checked"} if i == 0 else {}),
        }
        buttons.append(element("label", element("input", **given), words))
    return element("fieldset", element("legend", "Colour by"), buttons)


def _place() -> Html:
    return element(
        "div", element("div", id="map"), element("div", id="ring", hidden="hidden"), id="place"
    )


def _card() -> Html:
    hint = "Each dot is a document; near ones are alike to the model that read them."
    return element(
        "aside",
        element("dl", id="facts"),
        element("div", hint, id="excerpt", dir="auto"),
        id="card",
    )


def _data(documents: Map, chosen: np.ndarray, characters: int) -> dict[str, Any]:
    """What the script draws, as plain JSON; words are cut and cleared of what turns the text around
    them.
    """
    by, origins = documents.origins()
    names, excerpts = by_size(origins), documents.texts("excerpt")
    number = {name: i for i, name in enumerate(names)}
    groups = (
        names if len(names) <= GROUPS else [*names[: GROUPS - 1], f"{len(names) - GROUPS + 1} more"]
    )
    places = np.round(documents.places[chosen] * GRID).astype(int)
    return {
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "size": 6 if chosen.size <= 5000 else 4 if chosen.size <= 20_000 else 3,
        "by": by,
        "names": [_clean(name, 60) for name in names],
        "groups": [_clean(name, 24) for name in groups],
        "source": [number[origins[i]] for i in chosen],
        "held_out": [int(held) for held in documents.numbers("held_out")[chosen]],
        "numbers": [_number(documents, colouring, chosen) for colouring in documents.colourings()],
        "excerpt": [_clean(excerpts[i], characters) for i in chosen],
        "palette": {"light": HUES, "dark": DARK_HUES},
        "ramp": {"light": RAMP, "dark": [DARK[colour] for colour in RAMP]},
    }


def _number(documents: Map, colouring: Colouring, chosen: np.ndarray) -> dict[str, Any]:
    """A column with the range that the colours cover: without the outermost hundredth on either
    side.
    """
    values = documents.numbers(colouring.column)[chosen]
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, (0.01, 0.99)) if known.size else (0.0, 1.0)
    if colouring.magnitudes:
        ticks = np.geomspace(max(low, 1), max(high, low + 1, 2), 5)
    else:
        ticks = np.linspace(low, high if high > low else low + 1, 5)
    return {
        "column": colouring.column,
        "words": colouring.words,
        "magnitudes": colouring.magnitudes,
        "values": [round(v, 3) if np.isfinite(v) else None for v in values.tolist()],
        "low": float(ticks[0]),
        "high": float(ticks[-1]),
        "ticks": ticks.tolist(),
        "written": [f"{tick:{colouring.written}}" for tick in ticks],
    }


def _clean(text: str, characters: int) -> str:
    """At most so many characters, none of which a page may not hold."""
    cut = (
        text
        if len(text) <= characters
        else text[: max(0, characters - 1)] + "…"
        if characters
        else ""
    )
    return UNFIT.sub("�", cut)


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
