"""Errors that come from a user's input or machine, as opposed to our own bugs.

    ValueError
    └── UserError          shown as one line, exit code 2, no traceback
        └── DiskFullError  the same, raised before or instead of a half-written file

    Interrupted            training received a signal and has saved its state; exit code 3
    Terminated             SIGTERM or SIGHUP, beside Python's KeyboardInterrupt for SIGINT; 143, 129

Our own invariants are asserts; they show a traceback, because no user can fix them.
"""

import signal

__all__ = [
    "EXIT_INTERRUPTED",
    "EXIT_USER",
    "DiskFullError",
    "Interrupted",
    "Terminated",
    "UserError",
]

EXIT_USER = 2
EXIT_INTERRUPTED = 3


class UserError(ValueError):
    """Something the user can fix: «where: what was found; what was expected; what to do»."""


class DiskFullError(UserError):
    """The disk is full: states how much is needed and how much is free."""


class Interrupted(Exception):
    """A signal ended the work after its state was saved; the message says how to resume."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP; no Exception, so that nothing that handles errors takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  # as shells have it
