"""A step's log: plain lines in its own log file; on the terminal a progress bar or plain lines.

Snakemake leaves a step's stderr on the terminal as long as the step writes its log file itself, so
it does: the file always has every line, and the terminal has them too, with a progress bar where
there is a terminal to draw it on.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from .files import open_own
from .terminal import harmless, harmless_lines

__all__ = ["Bar", "Log"]

PLAIN_EVERY_S = 10.0  # seconds between progress lines where there is no terminal


class Log:
    """Writes lines to any number of log files and to stderr, there with the step's name in front.

    Use as a context manager. ``append`` keeps what earlier runs wrote, as training does; ``quiet``
    writes nothing to stderr.
    """

    def __init__(
        self,
        name: str,
        path: str | Path | Iterable[Path] | None = None,
        *,
        append: bool = False,
        quiet: bool = False,
    ) -> None:
        self.name = name
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)

        self._files: list[IO[str]] = []
        for file in [path] if isinstance(path, str | Path) else path or []:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            mode = "a" if append else "w"
            self._files.append(open_own(file, mode))

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.file_only(f"{kind.__name__}: {error}")
        for file in self._files:
            file.close()

    def say(self, message: str) -> None:
        """One line to the files and the terminal."""
        message = harmless(message)
        self.file_only(message)
        self.console.print(f"[{self.name}] {message}", markup=False)

    def warn(self, message: str) -> None:
        """One line that begins with `warning:`."""
        message = harmless(message)
        self.file_only(f"warning: {message}")
        self.console.print(f"[{self.name}] warning: {message}", markup=False, style="yellow")

    def file_only(self, message: str) -> None:
        """One line to the files, with the time of day."""
        for file in self._files:
            print(time.strftime("%H:%M:%S"), harmless_lines(message), file=file)

    @contextmanager
    def progress(self, total: float | None, unit: str = "") -> Iterator["Bar"]:
        """A live bar on a terminal, elsewhere a line every ten seconds; call `Bar.update`."""
        if not self.console.is_terminal:
            yield Bar(self, total, unit, None)
            return

        columns = _columns(total)
        with Progress(*columns, console=self.console, transient=True, expand=True) as live:
            yield Bar(self, total, unit, live)


def _columns(total: float | None) -> list[ProgressColumn]:
    done = "{task.completed:,.0f}"
    counter = f"{done}/{{task.total:,.0f}} {{task.fields[unit]}}" if total else done

    # A narrow terminal should cut off the end of the note and nothing else, so the note comes last
    # and is the only column that may shrink.
    note = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return [
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn(counter),
        TextColumn("ETA"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False, table_column=note),
    ]


class Bar:
    """Progress towards ``total`` (None when it isn't known in advance)."""

    def __init__(self, log: Log, total: float | None, unit: str, live: Progress | None) -> None:
        self.log, self.total, self.unit, self.live = log, total, unit, live
        self.last_line = time.monotonic()
        self.first: tuple[float, float] | None = None  # update: when, and how much was done then
        self.task = TaskID(0)
        if live is not None:
            self.task = live.add_task(log.name, total=total, unit=unit, note="")

    def update(self, done: float, note: str = "") -> None:
        """``done`` is absolute, not an increment; ``note`` is printed after the count."""
        if self.first is None:
            self.first = time.monotonic(), done
        if self.live is not None:
            self.live.update(self.task, completed=done, note=harmless(note))
        elif time.monotonic() - self.last_line >= PLAIN_EVERY_S:
            self.last_line = time.monotonic()
            total = f"/{self.total:,.0f}" if self.total else ""
            parts = [f"{done:,.0f}{total} {self.unit}".strip(), note, self._eta(done)]
            self.log.say(" | ".join(filter(None, parts)))

    def _eta(self, done: float) -> str:
        """By what was done since the first update: what resumes has done the rest another time."""
        assert self.first, "update has been called"
        began, before = self.first
        if not self.total or done <= before:
            return ""
        each = (time.monotonic() - began) / (done - before)
        minutes, seconds = divmod(int(each * max(0.0, self.total - done)), 60)
        hours, minutes = divmod(minutes, 60)
        return (
            f"ETA {hours}:{minutes:02d}:{seconds:02d}" if hours else f"ETA {minutes}:{seconds:02d}"
        )
