"""What a step says: plain lines in its own log file, and on the terminal a live line or plain ones.

Snakemake leaves a step's stderr on the terminal as long as the step writes its log file by itself,
so it does: the file always has every line, the terminal has them too, and a progress bar where
there is one to draw on.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

__all__ = ["Log"]

PLAIN_EVERY_S = 10.0


class Log:
    """Lines to one or more log files (when given) and to stderr, each with the step's name in
    front.

    Use as a context manager. ``append`` keeps what earlier runs wrote, as training does. ``quiet``:
    nothing to stderr.
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
        self._files = []
        for file in [path] if isinstance(path, str | Path) else path or []:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            self._files.append(open(file, "a" if append else "w", encoding="utf-8", buffering=1))  # noqa: SIM115 - closed in __exit__

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is not None:
            self.file_only(f"{kind.__name__}: {error}")
        for file in self._files:
            file.close()

    def say(self, message: str) -> None:
        """One line to both places."""
        self.file_only(message)
        self.console.print(f"[{self.name}] {message}", markup=False)

    def warn(self, message: str) -> None:
        """One line that begins with `warning:`."""
        self.file_only(f"warning: {message}")
        self.console.print(f"[{self.name}] warning: {message}", markup=False, style="yellow")

    def file_only(self, message: str) -> None:
        """One line to the files, with the time of day."""
        for file in self._files:
            print(time.strftime("%H:%M:%S"), message, file=file)

    @contextmanager
    def progress(self, total: float | None, unit: str = "") -> Iterator["Bar"]:
        """A live bar on a terminal, a plain line every ten seconds elsewhere; call `Bar.update`."""
        if not self.console.is_terminal:
            yield Bar(self, total, unit, None)
            return
        # What a narrow terminal cuts off must be the end of the note, so the note comes last and
        # alone may shrink.
        columns = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn(
                "{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"
                if total
                else "{task.completed:,.0f}"
            ),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            TextColumn(
                "{task.fields[note]}",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
        ]
        with Progress(*columns, console=self.console, transient=True, expand=True) as shown:
            yield Bar(self, total, unit, shown)


class Bar:
    """Progress towards ``total`` (None when it isn't known beforehand)."""

    def __init__(self, log: Log, total: float | None, unit: str, shown: Progress | None) -> None:
        self.log, self.total, self.unit, self.shown = log, total, unit, shown
        self.started = self.said = time.monotonic()
        self.task = shown.add_task(log.name, total=total, unit=unit, note="") if shown else None

    def update(self, done: float, note: str = "") -> None:
        """``done`` is absolute, not an increment; ``note`` stands behind the percentage."""
        if self.shown is not None:
            self.shown.update(self.task, completed=done, note=note)
        elif time.monotonic() - self.said >= PLAIN_EVERY_S:
            self.said = time.monotonic()
            of = f"/{self.total:,.0f}" if self.total else ""
            eta = self._eta(done)
            self.log.say(
                " | ".join(
                    part for part in (f"{done:,.0f}{of} {self.unit}".strip(), note, eta) if part
                )
            )

    def _eta(self, done: float) -> str:
        if not self.total or not done:
            return ""
        left = (time.monotonic() - self.started) / done * max(0.0, self.total - done)
        return f"ETA {int(left) // 60}:{int(left) % 60:02d}"
