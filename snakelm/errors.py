"""What goes wrong by a person's input or machine, as against what goes wrong by ours.

    ValueError
    └── UserError          shown as one line, exit code 2, no traceback
        └── DiskFullError  the same, raised before or instead of a half-written file

    Interrupted            training was told to stop and has saved; exit code 3

Our own invariants are asserts; they show a traceback, because a person can't mend them.
"""

__all__ = ["EXIT_INTERRUPTED", "EXIT_USER", "DiskFullError", "Interrupted", "UserError"]

EXIT_USER = 2
EXIT_INTERRUPTED = 3


class UserError(ValueError):
    """A mistake or a state that a person can mend: «where: what was found; what was expected; what
    to do».
    """


class DiskFullError(UserError):
    """No room left: says how much is needed and how much there is."""


class Interrupted(Exception):
    """A signal ended the work after its state was saved; the message says how to go on."""
