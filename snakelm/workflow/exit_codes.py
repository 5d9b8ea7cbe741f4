"""How a script ends: a user's mistake in one line, an interruption with its own code, a fault of
ours with a traceback.
"""

import argparse
import errno
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from ..errors import EXIT_INTERRUPTED, EXIT_USER, Interrupted, UserError
from ..terminal import harmless, harmless_lines

__all__ = ["exit_code", "parser"]

EXIT_SIGINT = 128 + signal.SIGINT  # as shells have it


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser as all scripts use it: no abbreviations, the description as written."""
    return _Parser(
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(harmless(message))


def exit_code(main: Callable[[], int | None]) -> int:
    """Calls ``main`` and gives its exit code: 0 done, 2 a user's mistake, 3 interrupted and saved.

    Errors of the operating system that name a file (missing, not permitted, disk full) are for the
    user to fix too.
    """
    try:
        return main() or 0
    except UserError as error:
        return _end(f"error: {error}", EXIT_USER)
    except Interrupted as stop:
        return _end(str(stop), EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _end(
            "interrupted: nothing half-written is left; the same command starts this step again",
            EXIT_SIGINT,
        )
    except OSError as error:
        if error.errno == errno.ENOSPC:
            where = error.filename or "disk"
            return _end(f"error: {where}: disk full; free some room and run it again", EXIT_USER)
        theirs = FileNotFoundError | PermissionError | IsADirectoryError
        if error.filename is None or not isinstance(error, theirs):
            raise
        return _end(f"error: {error.filename}: {error.strerror}", EXIT_USER)


def _end(message: str, code: int) -> int:
    from rich.console import Console  # a tenth of a second, and few scripts end so

    Console(file=sys.stderr, soft_wrap=True, highlight=False).print(
        harmless_lines(message), style="red", markup=False
    )
    return code
