"""How a script ends: a user's mistake or the machine's refusal in one line, an interruption with
its own code, a fault of ours with a traceback.
"""

import argparse
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from ..errors import EXIT_INTERRUPTED, EXIT_USER, Interrupted, Terminated, UserError
from ..machine_errors import machine_error
from ..terminal import harmless, harmless_lines
from .signals import interrupting

__all__ = ["exit_code", "parser"]

EXIT_SIGINT = 128 + signal.SIGINT  # as shells have it
NOTHING_LEFT = "nothing half-written is left; the same command starts this step again"


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
    """Calls ``main`` and gives its exit code: 0 done, 2 for the user to fix, 3 interrupted and
    saved, 130, 143 and 129 stopped by SIGINT, SIGTERM and SIGHUP.

    What the operating system refuses (no such file, not permitted, disk full, no memory) is for the
    user to fix too.
    """
    with interrupting():
        try:
            return main() or 0
        except UserError as error:
            return _end(f"error: {error}", EXIT_USER)
        except Interrupted as stop:
            return _end(str(stop), EXIT_INTERRUPTED)
        except KeyboardInterrupt:
            return _end(f"interrupted: {NOTHING_LEFT}", EXIT_SIGINT)
        except Terminated as stop:
            return _end(f"{stop}: {NOTHING_LEFT}", stop.exit_code)
        except (OSError, MemoryError, RuntimeError) as error:
            said = machine_error(error)
            if said is None:
                raise
            return _end(f"error: {said}", EXIT_USER)


def _end(message: str, code: int) -> int:
    from rich.console import Console  # a tenth of a second, and few scripts end so

    with suppress(OSError):  # stderr may be a file on the disk that is full; the code still counts
        Console(file=sys.stderr, soft_wrap=True, highlight=False).print(
            harmless_lines(message), style="red", markup=False
        )
    return code
