"""Where requests wait for the model, and the one thread that answers them.

One answer at a time: two side by side would each take longer than one after the other, and the
model, its cache and torch's thread pool keep a single owner. The HTTP side is an asyncio loop in
another thread; the two meet in `Job`s only. Requests go to the worker through a bounded queue,
pieces of the answer come back by `loop.call_soon_threadsafe`.
"""

import asyncio
import queue
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import suppress

from ..errors import UserError
from ..model.chat import Chat, Continuation, ResponderOptions
from .replies import AnswerEnd
from .schemas import ApiError, ChatRequest, CompletionRequest

__all__ = ["Job", "Worker"]

POLL_S = 0.1  # how often an idle worker looks whether it is to stop

Event = str | AnswerEnd | ApiError


class Job:
    """A request and its answer to be. Made by, and read in, the asyncio loop that runs then.

    ``cancelled``: set by the client's side when nobody wants the answer any more.
    """

    def __init__(self, request: ChatRequest | CompletionRequest) -> None:
        self.request = request
        self.cancelled = threading.Event()
        self.begun = threading.Event()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, event: Event) -> None:
        """A piece of the answer; an AnswerEnd or an ApiError is the last. For any thread."""
        with suppress(RuntimeError):  # the loop has closed, so nobody reads
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next_event(self) -> Event:
        """The next piece, or the last."""
        return await self._events.get()

    def expire_after(self, seconds: float) -> asyncio.TimerHandle:
        """Ends the job with an error unless its answer has begun by then."""
        return self._loop.call_later(seconds, self._expire, seconds)

    def _expire(self, seconds: float) -> None:
        if not self.begun.is_set():
            message = f"no answer begun within {seconds:.0f} s: other requests come first"
            self._events.put_nowait(ApiError(503, message, code="timeout"))


class Worker:
    """Answers requests with the model, settings and cache of ``responder``, one after the other.

    At most ``max_waiting`` requests wait while one is being answered. ``max_answer_s``: seconds
    after which an answer is cut off. ``log``: takes one line per answer, never its text.
    """

    def __init__(
        self,
        responder: Chat | Continuation,
        *,
        max_waiting: int = 8,
        max_answer_s: float = 300.0,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.responder, self.max_answer_s, self.log = responder, max_answer_s, log
        self.jobs: queue.Queue[Job] = queue.Queue(max_waiting)
        self.closed = threading.Event()
        self._lock = threading.Lock()  # no job enters the queue once `run` has emptied it

    def submit(self, request: ChatRequest | CompletionRequest) -> Job:
        """Puts a request at the end of the queue; ApiError when that is full, or closed."""
        job = Job(request)
        with self._lock:
            if self.closed.is_set():
                raise _shutting_down()
            try:
                self.jobs.put_nowait(job)
            except queue.Full:
                message = f"{self.jobs.maxsize} requests are waiting already; try again in a moment"
                raise ApiError(429, message, code="rate_limit_exceeded") from None
        return job

    def run(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Answers until ``stop`` says so or `close` is called, then refuses the requests that wait.

        For one thread; a long answer ends at its current token.
        """
        while not self._stopping(stop):
            try:
                job = self.jobs.get(timeout=POLL_S)
            except queue.Empty:
                continue
            self._answer(job, stop)

        with self._lock:
            self.closed.set()
        while not self.jobs.empty():
            self.jobs.get_nowait().put(_shutting_down())

    def close(self) -> None:
        """Ends `run` after the current token."""
        with self._lock:
            self.closed.set()

    def _stopping(self, stop: Callable[[], bool]) -> bool:
        return self.closed.is_set() or stop()

    def _answer(self, job: Job, stop: Callable[[], bool]) -> None:
        """Everything about one job, its failures included: none of them ends the worker."""
        if job.cancelled.is_set():
            return
        job.begun.set()
        began = time.monotonic()

        try:
            end = self._generate(job, stop)
        except ApiError as error:
            job.put(error)
        except UserError as error:  # Chat raises it for a question that doesn't fit the context
            job.put(ApiError(400, str(error), param="messages", code="context_length_exceeded"))
        except Exception:  # a bug of ours ends this answer, not the server
            traceback.print_exc()
            message = "the server failed on this request; its terminal says how"
            job.put(ApiError(500, message, code="internal_error"))
        else:
            job.put(end)
            seconds = time.monotonic() - began
            self.log(
                f"{end.completion_tokens} tokens in answer to {end.prompt_tokens}, "
                f"{seconds:.1f} s, {end.reason}"
            )

    def _generate(self, job: Job, stop: Callable[[], bool]) -> AnswerEnd:
        responder, pieces = self._start(job.request)
        deadline = time.monotonic() + self.max_answer_s
        cut_short = False

        for piece in pieces:
            job.put(piece)
            if self._stopping(stop):
                raise _shutting_down()
            if job.cancelled.is_set() or time.monotonic() > deadline:
                cut_short = True
                pieces.close()
                break

        return AnswerEnd(
            "length" if cut_short or responder.truncated else "stop",
            prompt_tokens=len(responder.prompt_ids),
            completion_tokens=len(responder.answer_ids),
            dropped_turns=responder.dropped_turns,
        )

    def _start(
        self, request: ChatRequest | CompletionRequest
    ) -> tuple[Chat | Continuation, Generator[str, None, None]]:
        """What answers a request, with our own settings where the request is silent."""
        own = self.responder
        options: ResponderOptions = {
            "max_tokens": request.token_limit or own.max_tokens,
            "seed": own.seed if request.seed is None else request.seed,
            "stop": request.stop_texts or own.stop,
            "cache": own.cache,
            **own.sampling,
            **request.sampling,
        }

        if isinstance(request, CompletionRequest):
            continuation = Continuation(own.model, own.tokenizer, **options)
            return continuation, continuation.answer(request.text)

        system = request.system
        if system is None and isinstance(own, Chat):
            system = own.system
        chat = Chat(own.model, own.tokenizer, system=system, **options)
        *history, question = request.turns
        chat.restore(history)
        return chat, chat.answer(question["content"])


def _shutting_down() -> ApiError:
    return ApiError(503, "the server is shutting down", code="shutting_down")
