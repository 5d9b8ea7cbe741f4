"""tokenizer.html: what the tokenizer makes of text: rates by source, examples token by token,
frequent and unseen.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .page import Html, element, rows, write_page

__all__ = ["write_tokenizer"]

VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}
LONGEST = 60  # characters of a token in a list


def write_tokenizer(table: Mapping[str, Any], path: str | Path) -> None:
    """The page of ``table``, tokenizer.json."""
    special = ", ".join(table["special"])
    write_page(
        path,
        "The tokenizer",
        element(
            "p",
            f"{table['vocabulary']:,} tokens, {special} among them; words are split as {table['pattern']} does.",
        ),
        element(
            "p", f"Half of the training text is made of {table['half']:,} of them.", class_="soft"
        ),
        element("h2", "By source"),
        element(
            "div",
            rows(
                ["", "bytes a token", "tokens a word", "characters a token"],
                _rates(table),
                numbers=range(1, 4),
            ),
            class_="wide",
        ),
        element(
            "p",
            "Words are what stands between white space. By source: measured on some documents.",
            class_="soft",
        ),
        element("h2", "Text as the model sees it"),
        [_example(example) for example in table["examples"]],
        _list("Used most", table["most"]),
        _list("Longest", table["longest"]),
        _unseen(table),
    )


def _rates(table: Mapping[str, Any]) -> Iterator[list[str]]:
    for rates in [*table["sources"], *table["bins"]]:
        pairs = (("bytes", "tokens"), ("tokens", "words"), ("characters", "tokens"))
        yield [
            rates["name"],
            *(
                f"{rates[a] / rates[b]:.2f}" if rates.get(a) and rates.get(b) else "–"
                for a, b in pairs
            ),
        ]


def _example(example: Mapping[str, Any]) -> Html:
    """Neighbouring tokens in two colours; a line break stays one, behind its mark."""
    spans = [
        element("span", _marked(piece), class_="ab"[i % 2])
        for i, piece in enumerate(example["pieces"])
    ]
    return element("section", element("p", element("b", example["source"])), element("pre", spans))


def _marked(piece: str) -> str:
    return piece.replace("\n", "⏎\n")


def _list(title: str, pairs: Sequence[tuple[str, int]]) -> list[Html]:
    if not pairs:
        return []
    some = [
        element("span", _visible(piece), element("small", f" {count:,}", class_="prompt"))
        for piece, count in pairs
    ]
    return [element("h2", title), element("p", *_spaced(some))]


def _unseen(table: Mapping[str, Any]) -> list[Html]:
    words = (
        f"{table['never']:,} of {table['text_tokens']:,} tokens never stand in the training text, {table['rare']:,} "
        f"less than {table['rare_below']} times. Bytes that the text doesn't have are among them, and pieces that only "
        "serve to make longer tokens of."
    )
    some = [element("span", _visible(piece)) for piece in table["unseen"]]
    return [
        element("h2", "Never used"),
        element("p", words, class_="soft"),
        element("p", *_spaced(some)),
    ]


def _spaced(spans: Sequence[Html]) -> Iterator[Html | str]:
    for span in spans:
        yield element("span", span, class_="token")
        yield " "


def _visible(piece: str) -> Html:
    """A token in a box, with marks for what can't be seen."""
    text = "".join(VISIBLE.get(c, c) for c in piece)
    return element("span", text if len(text) <= LONGEST else text[: LONGEST - 1] + "…", class_="a")
