"""A source's `columns`: what its files call what we know by another name, and whether any row had
it. A name that is nowhere is a slip, and the row may well have the usual one beside what was meant.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import UserError
from ...terminal import harmless

__all__ = ["NamedColumns"]


class NamedColumns:
    """``columns``: our name → the file's. ``where``: the key, ``kinds``: what has the ``known``
    names. ``ours``: the file's name → ours; ``met``: of the file's names, those that a row had.
    """

    def __init__(
        self, columns: Mapping[str, str] | None, known: Sequence[str], where: str, kinds: str
    ) -> None:
        self.ours = {theirs: ours for ours, theirs in (columns or {}).items()}
        self.where = where
        # One that stands for itself needs no finding: nothing else is read in its place.
        self.met = {theirs for theirs, ours in self.ours.items() if theirs == ours}

        for name in columns or {}:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
                hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
                raise UserError(f"{where}.columns.{name}: no {kinds} has such a column; {hint}")

    def check_met(self, files: Sequence[Path], seen: set[str]) -> None:
        """UserError for a name that no row of ``files`` had; ``seen``: columns that they have."""
        for theirs, ours in self.ours.items():
            if theirs not in self.met:
                close = difflib.get_close_matches(theirs, sorted(seen), 1, cutoff=0.5)
                hint = f"did you mean {harmless(close[0])}?" if close else "fix it, or leave it out"
                more = f" and {len(files) - 1} more" if len(files) > 1 else ""
                raise UserError(
                    f"{self.where}.columns.{ours}: found {theirs!r}, and no row of "
                    f"{files[0]}{more} has that; {hint}"
                )
