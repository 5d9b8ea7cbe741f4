"""What is wrong with files and rows, each kind said once: with a count and the first few places."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Warnings"]

PLACES_SHOWN = 3
KINDS_SHOWN = 8
PARTICULARS = re.compile(r" ?\([^()]*\)|'[^']*'|\d+")  # what differs within a kind


@dataclass
class _Kind:
    """The places, at most `PLACES_SHOWN`, with what was found at the first."""

    found: str
    places: list[str] = field(default_factory=list)
    count: int = 0


class Warnings:
    """Collects warnings until `say`, which gives one line for each kind to ``warn``; None: to
    nobody.
    """

    def __init__(self, warn: Callable[[str], None] | None) -> None:
        self._warn = warn
        self._kinds: dict[str, _Kind] = {}

    def add(self, kind: str, place: str, found: str) -> None:
        """Something of a kind was found at a place: file, or file and line."""
        one = self._kinds.setdefault(kind, _Kind(found))
        one.count += 1
        if len(one.places) < PLACES_SHOWN:
            one.places.append(place)

    def add_file(self, file: str, found: str) -> None:
        """Something was found of a file; of one kind is what reads alike but for numbers, names and
        what is in brackets.
        """
        self.add(PARTICULARS.sub("", found), file, found)

    def say(self) -> None:
        """Says what was collected, and forgets it."""
        kinds, self._kinds = list(self._kinds.values()), {}
        if self._warn is None:
            return

        for one in kinds[:KINDS_SHOWN]:
            first, *others = one.places
            more = one.count - len(one.places)
            also = f"; also {', '.join(others)}" if others else ""
            self._warn(f"{first}: {one.found}{also}" + (f" and {more:,} more" if more else ""))
        if len(kinds) > KINDS_SHOWN:
            rest = sum(one.count for one in kinds[KINDS_SHOWN:])
            self._warn(f"and {rest:,} warnings of {len(kinds) - KINDS_SHOWN} other kinds")
