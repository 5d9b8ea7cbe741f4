"""Text of a corpus, a model or a file's name, as a terminal may show it.

Whatever is printed or logged goes through here where it leaves (snakelm/log.py, exit_code), so no
message has to think of it.
"""

import unicodedata

__all__ = ["harmless", "harmless_lines"]

SHOWN = {"\n": "⏎", "\t": "⇥", "\r": "␍"}


def harmless(text: str) -> str:
    """On one line, without anything that steers a terminal: controls, escapes, marks that turn the
    direction.

    A line break and a tab become a sign for it, a space of any width a space, whatever else is no
    printable character `\\N{REPLACEMENT CHARACTER}`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def harmless_lines(text: str) -> str:
    """The same for a message of several lines, which stay lines."""
    return "\n".join(map(harmless, text.split("\n")))


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if character.isprintable() and category not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return character
    return SHOWN.get(character) or (" " if category == "Zs" else "\N{REPLACEMENT CHARACTER}")
