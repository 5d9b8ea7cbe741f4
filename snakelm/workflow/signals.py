"""Signals in a step: the first one ends it, in order; whatever sends them may send any number.

Slurm sends SIGTERM twice at a time limit (to the step's processes, and through srun), torchrun and
process groups repeat it too. So SIGTERM and SIGHUP count once however often they come; only a
second SIGINT, a person's second Ctrl-C, ends at once.

`interrupting` is for every step: the first signal raises, so that unfinished files go.
`StopRequest` is for work that can save: there it only sets a flag, and loops look at it where they
can. What is ignored when the step begins (SIGHUP under nohup) stays ignored, but for SIGINT, which
shells take away from whatever they start in the background.

TIME_LIMIT is Slurm's warning that the job's time is nearly up (slurm/config.yaml asks for it). It
is a signal that every process ignores by default, for Slurm sends it to all of a job step.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..errors import Terminated
from ..starting import SIGNALS, is_answered

__all__ = ["TIME_LIMIT", "StopRequest", "interrupting", "is_insisted", "is_time_up"]

TIME_LIMIT = signal.SIGURG
AT_ONCE = "ended at once; the same command removes what is half-written and goes on\n"

_Handler = Callable[[int, FrameType | None], Any]
_seen: Counter[int] = Counter()  # signals that came since the step began


@contextmanager
def interrupting() -> Iterator[None]:
    """In the block the first signal raises: SIGINT KeyboardInterrupt, SIGTERM and SIGHUP
    Terminated. Only in the main thread, where Python sets handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    _seen.clear()
    in_script = any(map(is_answered, SIGNALS))
    before = _set(_raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            # A script has nothing left to do but to end with the code that it has by now.
            signal.signal(number, signal.SIG_IGN if in_script else handler)


def _raise(number: int, frame: FrameType | None) -> None:
    first = not _ends(_seen)
    _seen[number] += 1
    if is_insisted():
        _end_at_once()
    if first and number == signal.SIGINT:
        raise KeyboardInterrupt
    if first and number != TIME_LIMIT:
        raise Terminated(number)


def is_insisted() -> bool:
    """Whether SIGINT came twice since the step began."""
    return _seen[signal.SIGINT] > 1


def is_time_up() -> bool:
    """Whether TIME_LIMIT came since the step began."""
    return _seen[TIME_LIMIT] > 0


class StopRequest:
    """While the block runs, a signal only sets ``name``; a second SIGINT raises KeyboardInterrupt,
    a third ends at once. A time limit that was near before the block counts too.
    """

    def __init__(self) -> None:
        self.name = signal.Signals(TIME_LIMIT).name if is_time_up() else ""
        self._interrupts = 0
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return bool(self.name)

    def __enter__(self) -> "StopRequest":
        self._before = _set(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        _seen[number] += 1
        self.name = self.name or signal.Signals(number).name
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 2:
                _end_at_once()
            if self._interrupts == 2:
                raise KeyboardInterrupt


def _ends(seen: Counter[int]) -> bool:
    return any(seen[number] for number in SIGNALS)


def _set(handler: _Handler) -> dict[int, Any]:
    """Sets ``handler``; gives those before."""
    ignored = {n for n in SIGNALS if signal.getsignal(n) == signal.SIG_IGN} - {signal.SIGINT}
    numbers = [number for number in (*SIGNALS, TIME_LIMIT) if number not in ignored]
    return {number: signal.signal(number, handler) for number in numbers}


def _end_at_once() -> None:
    os.write(2, AT_ONCE.encode())
    os._exit(128 + signal.SIGINT)
