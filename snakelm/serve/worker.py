"""Where requests wait for the model, and the one thread that answers them.

One answer at a time: a second one beside it would make both take longer than one after the other,
and the model, its cache and torch's threads have one owner. So nothing here needs a lock but the
queue's own.
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator

from ..errors import UserError
from ..model.chat import Speaker
from .reply import Ending
from .request import Ask, Refused

__all__ = ["Desk", "Job"]

LOOK_EVERY_S = 0.1  # for a stop, or a client that has gone


class Job:
    """A request at the desk. The client's thread reads `events`; it sets ``given_up`` when nobody
    wants them.
    """

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.given_up = threading.Event()
        self.begun = False
        self._told: queue.Queue[str | Ending | Refused] = queue.Queue()

    def tell(self, event: str | Ending | Refused) -> None:
        """A piece of the answer; an Ending or a Refused is the last."""
        self._told.put(event)

    def event(self, seconds: float) -> str | Ending | Refused | None:
        """The next of them; None when there is none within ``seconds``."""
        try:
            return self._told.get(timeout=seconds)
        except queue.Empty:
            return None


class Desk:
    """``speaker``: makes what answers a request. At most ``waiting`` requests wait, and one has its
    answer made.

    ``answer_s``: seconds after which an answer is cut; ``say``: where a line about each goes, never
    what was said.
    """

    def __init__(
        self, speaker: Callable[[Ask], Speaker], *, waiting: int = 8, answer_s: float = 300.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:  # fmt: skip
        self.speaker, self.answer_s, self.say = speaker, answer_s, say
        self.jobs: queue.Queue[Job] = queue.Queue(waiting)
        self.closed = threading.Event()

    def take(self, ask: Ask) -> Job:
        """Puts a request at the end of the queue; Refused when it is full, or closed."""
        job = Job(ask)
        if self.closed.is_set():
            raise _closing()
        try:
            self.jobs.put_nowait(job)
        except queue.Full:
            message = f"{self.jobs.maxsize} requests wait already; try again in a moment"
            raise Refused(429, message, code="rate_limit_exceeded") from None
        return job

    def work(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Answers until ``stop`` says so or `close` is called; then refuses whoever waits. For one
        thread.
        """
        while not self._ended(stop):
            try:
                job = self.jobs.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                continue
            self._answer(job, stop)
        self.closed.set()
        while not self.jobs.empty():
            self.jobs.get_nowait().tell(_closing())

    def _ended(self, stop: Callable[[], bool]) -> bool:
        return self.closed.is_set() or stop()

    def _answer(self, job: Job, stop: Callable[[], bool]) -> None:
        if job.given_up.is_set():
            return
        job.begun, began = True, time.monotonic()
        try:
            speaker = self.speaker(job.ask)
            ending = self._speak(job, speaker, speaker.answer(job.ask.turns[-1][1]), stop)
        except Refused as refused:
            job.tell(refused)
        except UserError as error:
            job.tell(Refused(400, str(error), param="messages", code="context_length_exceeded"))
        except Exception:  # a bug of ours ends this answer, not the server
            traceback.print_exc()
            job.tell(
                Refused(
                    500,
                    "the server failed on this request; its terminal says how",
                    code="internal_error",
                )
            )
        else:
            job.tell(ending)
            took = time.monotonic() - began
            self.say(
                f"answer of {ending.said} tokens to {ending.asked}, {took:.1f} s, {ending.reason}"
            )

    def _speak(
        self, job: Job, speaker: Speaker, pieces: Iterator[str], stop: Callable[[], bool]
    ) -> Ending:
        deadline, late = time.monotonic() + self.answer_s, False
        for piece in pieces:
            job.tell(piece)
            if self._ended(stop):
                raise _closing()
            late = time.monotonic() > deadline
            if late or job.given_up.is_set():
                pieces.close()
                break
        cut = speaker.cut or late or job.given_up.is_set()
        return Ending(
            "length" if cut else "stop", len(speaker.asked), len(speaker.said), speaker.dropped
        )

    def close(self) -> None:
        """Ends `work` after the token at hand."""
        self.closed.set()


def _closing() -> Refused:
    return Refused(503, "the server is shutting down", code="shutting_down")
