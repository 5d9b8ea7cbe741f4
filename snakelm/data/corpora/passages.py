"""Passages that stood in an earlier document are dropped from later ones: docstrings are full of
them.

Functions with the same parameter describe it in the same words. Of the docstring corpus 34% of the
held-out tokens lay in 16-token spans that training text had too; dropping whole near-duplicates
(Jaccard 0.7) left 31%, dropping repeated passages first leaves 17%, for 14% of the text. A passage
is a paragraph, or within one an item: a line with the deeper indented lines below it, as lists of
parameters are written.
"""

import re

from .prose import is_prose, without_empty_sections

__all__ = ["Passages", "passages"]

SHORTEST_PASSAGE = 40  # characters; shorter ones are headings and phrases that may well come again


class Passages:
    """Remembers the passages of the texts it was shown."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self.dropped = 0

    def fresh(self, text: str) -> str:
        """``text`` without the passages of earlier texts; empty when what is left is no prose."""
        kept = []
        for passage in passages(text):
            key = " ".join(passage.split()).lower()
            if len(passage) >= SHORTEST_PASSAGE and key in self._seen:
                self.dropped += 1
                continue
            self._seen.add(key)
            kept.append(passage)
        left = "\n".join(without_empty_sections("\n".join(kept).split("\n")))
        left = re.sub(r"\n{3,}", "\n\n", left).strip()
        return left if is_prose(left) else ""


def passages(text: str) -> list[str]:
    """The text's paragraphs and items, empty lines as empty passages: joined by newlines they are
    the text again.
    """
    found: list[str] = []
    item: list[str] = []
    lines = text.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if item and (not line.strip() or _begins_item(item, line, following)):
            found.append("\n".join(item))
            item = []
        if line.strip():
            item.append(line)
        else:
            found.append(line)
    return [*found, "\n".join(item)] if item else found


def _begins_item(item: list[str], line: str, following: str) -> bool:
    """Whether ``line`` is no part of ``item``: back at its indentation, with deeper lines before or
    after it.
    """
    at = _indent(item[0])
    if _indent(line) > at:
        return False
    return (bool(following.strip()) and _indent(following) > _indent(line)) or _indent(
        item[-1]
    ) > at


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
