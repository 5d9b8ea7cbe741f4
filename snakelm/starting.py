"""A signal while a script still imports: nothing has been written, so it ends at once, in one line
and with the exit code that shells give it.

Python's own answer is a traceback for SIGINT and no word for SIGTERM, and imports take seconds
where the environment is on a shared disk. From the first import of this package on, but only in the
processes of our own scripts: who imports the library keeps their handlers. `exit_code`
(workflow/exit_codes.py) takes over once the step begins.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

__all__ = ["SIGNALS", "answer_signals", "is_answered"]

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def answer_signals() -> None:
    """Sets the handlers where this process runs a script of ours; what is ignored stays so, as
    SIGHUP under nohup.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if not script or not Path(script).resolve().is_relative_to(SCRIPTS):
        return
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a trainer that started itself again


def is_answered(number: int) -> bool:
    """Whether a signal's handler is the one from here."""
    return signal.getsignal(number) is _end


def _end(number: int, frame: FrameType | None) -> None:
    if os.environ.get("RANK", "0") == "0":  # of several processes one is enough
        name = signal.Signals(number).name
        said = f"{name} while starting: nothing was written; run the same command again\n"
        os.write(2, said.encode())
    os._exit(128 + number)
