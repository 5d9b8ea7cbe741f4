"""SIGTERM and SIGINT ask for an end after the step at hand; a second one ends at once."""

import signal
from types import FrameType
from typing import Any

__all__ = ["StopRequest"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """While the block runs, a signal only sets ``requested``; loops look at it where they can
    save.
    """

    def __init__(self) -> None:
        self.requested = False
        self.name = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested, self.name = True, signal.Signals(number).name
        self._restore()  # the second one acts as it always did

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
