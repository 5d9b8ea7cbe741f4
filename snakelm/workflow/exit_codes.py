"""How a script ends: a person's mistake in one line, an interruption with its own code, our bug
with a traceback.
"""

import argparse
import errno
import sys
from collections.abc import Callable

from ..errors import EXIT_INTERRUPTED, EXIT_USER, Interrupted, UserError

__all__ = ["exit_code", "parser", "run"]


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser as all scripts use it: no abbreviations, defaults shown."""
    return argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def exit_code(main: Callable[[], int | None]) -> int:
    """Calls ``main`` and gives its exit code: 0 done, 2 a person's mistake, 3 interrupted and
    saved.

    Errors of the operating system that name a file (missing, not permitted, disk full) are a
    person's to mend too.
    """
    try:
        return main() or 0
    except UserError as error:
        return _say(f"error: {error}", EXIT_USER)
    except Interrupted as stop:
        return _say(str(stop), EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _say(
            "interrupted: nothing half-written is left; the same command starts this step again",
            130,
        )
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _say(
                f"error: {error.filename or 'disk'}: disk full; free some room and run the same again",
                EXIT_USER,
            )
        if error.filename is None or not isinstance(
            error, FileNotFoundError | PermissionError | IsADirectoryError
        ):
            raise
        return _say(f"error: {error.filename}: {error.strerror}", EXIT_USER)


def _say(message: str, code: int) -> int:
    red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
    print(f"{red}{message}{plain}", file=sys.stderr, flush=True)
    return code


run = exit_code
