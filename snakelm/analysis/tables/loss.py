"""loss_documents.html: the loss in numbers, the gap to text that was read, and the hardest and
easiest documents.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..figures.style import human
from .page import Html, element, rows, write_page

__all__ = ["STAGES", "interval", "two_lines", "write_loss"]

STAGES = {"base": "after pretraining", "tuned": "after tuning"}
SHOWN = 600  # characters of a document
MOST_SOURCES = 40


def write_loss(table: Mapping[str, Any], path: str | Path) -> None:
    """The page of loss.json."""
    held = table["held_out"]
    write_page(
        path,
        "Loss on held-out text",
        element(
            "p",
            f"{held['documents']:,} held-out documents of {human(held['bytes'])} bytes, {held['clean_documents']:,} of "
            "them clean. Small: 95% intervals, by drawing documents again.",
            class_="soft",
        ),
        _named(("", *STAGES.values()), _stages(table), range(1, 3)),
        element(
            "p",
            "Text in bits per byte, answers in nats per token; the fewer, the better.",
            class_="soft",
        ),
        [element("p", said) for said in _sentences(table)],
        element("h2", "By source"),
        _named(("source", *STAGES.values()), _sources(table), range(1, 3)),
        [
            _documents(word, table[key])
            for word, key in (("Hardest", "hardest"), ("Easiest", "easiest"))
        ],
    )


def interval(values: Mapping[str, float | None] | None, style: str = ".3f") -> str:
    """`1.518 (1.492 to 1.542)`; – for nothing."""
    if not values:
        return "–"
    if values["low"] is None:
        return f"{values['value']:{style}}"
    return f"{values['value']:{style}} ({values['low']:{style}} to {values['high']:{style}})"


def two_lines(values: Mapping[str, float | None] | None, style: str = ".3f") -> list[Html] | None:
    """The value and, small below it, its interval: narrow enough for several in a row on a
    phone.
    """
    if not values:
        return None
    value = element("div", f"{values['value']:{style}}")
    if values["low"] is None:
        return [value]
    return [value, element("small", f"{values['low']:{style}}–{values['high']:{style}}")]


def _stages(table: Mapping[str, Any]) -> Iterator[tuple]:
    stages = table["stages"]
    for key, words in (
        ("all", "all documents"),
        ("clean", "clean documents"),
        ("answers", "answers"),
    ):
        if any(values[key] for values in stages.values()):
            yield (
                words,
                *(two_lines(stages[name][key]) if name in stages else None for name in STAGES),
            )


def _named(head: tuple, body: Iterator[tuple], numbers: range) -> Html:
    """A table whose first column is broken between words only."""
    return element("div", rows(head, body, numbers), class_="facts")


def _sentences(table: Mapping[str, Any]) -> Iterator[str]:
    if change := table["change"]:
        what = "costs" if change["all"]["value"] > 0 else "gains"
        size = {key: None if value is None else abs(value) for key, value in change["all"].items()}
        bounds = sorted(v for v in (size["low"], size["high"]) if v is not None)
        between = f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if len(bounds) == 2 else ""
        yield f"Tuning {what} {size['value']:.3f} bits per byte on plain text{between}."
    else:
        yield "Nothing was tuned in this run (export: base), so there is no second stage to compare."
    read = table["reading"]
    if read["gap"]:
        yield (
            f"Held-out text needs {interval(read['gap'], '+.3f')} bits per byte against training text that was read to "
            f"its end ({read['read']:,} of {read['of']:,} documents, {read['epochs']:.2f} epochs): the difference is "
            "what was learned by heart."
        )
    else:
        yield "No training document was read to its end yet, so there is no gap to tell."
    for name, law in table["law"].items():
        where = {"held_out": "held-out text", "training": "training text"}[name]
        if "none" in law:
            yield f"No law of the curve on {where}: {law['none']}."
        else:
            ahead = law["ahead"][-1]
            yield (
                f"The curve on {where} follows E + A·D⁻ᵃ with a = {interval(law['power'], '.2f')}, "
                f"E = {interval(law['floor'], '.2f')}; at ten times the tokens it says {interval(ahead, '.2f')}. "
                "It is the law of this run's schedule: a falling learning rate bends the curve by itself."
            )


def _sources(table: Mapping[str, Any]) -> Iterator[tuple]:
    largest = sorted(table["sources"].items(), key=lambda pair: (-pair[1]["bytes"], pair[0]))
    for name, values in largest[:MOST_SOURCES]:
        rates = (two_lines(values.get(stage)) for stage in STAGES)
        size = f"{values['documents']:,} documents, {human(values['bytes'])} bytes"
        yield [element("div", name[:60]), element("small", size)], *rates
    if len(largest) > MOST_SOURCES:
        yield f"{len(largest) - MOST_SOURCES:,} smaller ones", None, None


def _documents(word: str, documents: list[Mapping[str, Any]]) -> Html:
    told = [element("p", "None are long enough to tell.", class_="soft")] if not documents else []
    return element(
        "section", element("h2", f"{word} documents"), told, [_document(one) for one in documents]
    )


def _document(one: Mapping[str, Any]) -> list[Html]:
    rates = [f"{one['bpb_base']:.3f}"] + (
        [f"{one['bpb_tuned']:.3f} after tuning"] if "bpb_tuned" in one else []
    )
    where = " · ".join(
        str(part)[:120]
        for part in (
            one["source"],
            one["file"],
            None if one["row"] is None else f"row {one['row']:,}",
        )
        if part is not None
    )
    clean = "" if one["clean"] else " · has copies in the training text"
    return [
        element(
            "p", element("b", ", ".join(rates)), f" bits per byte · {where}{clean}", class_="soft"
        ),
        element("pre", one["text"][:SHOWN], dir="auto"),
    ]
