"""Text of a corpus, a model or a file's name, as a terminal may show it."""

import unicodedata

__all__ = ["harmless"]

SHOWN = {"\n": "⏎", "\t": "⇥", "\r": "␍"}


def harmless(text: str) -> str:
    """On one line, without anything that steers a terminal: controls, escapes, marks that turn the
    direction.

    A line break and a tab become a sign for it, whatever else is no printable character
    `\\N{REPLACEMENT CHARACTER}`.
    """
    return "".join(SHOWN.get(c) or (c if _shows(c) else "\N{REPLACEMENT CHARACTER}") for c in text)


def _shows(character: str) -> bool:
    return character.isprintable() and unicodedata.category(character) not in (
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Zl",
        "Zp",
    )
