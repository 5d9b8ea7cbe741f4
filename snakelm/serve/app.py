"""The application: its routes, what every request must satisfy, and how errors are said.

    GET   /  /page.css  /page.js          the page
    GET   /v1/models  /v1/models/<name>   the model that is served
    POST  /v1/chat/completions            of a tuned model, at once or as server-sent events
    POST  /v1/completions                 of a base model, which continues a text

A browser can be made to send requests here by any site that is open in another tab. So every
request must be addressed to this server by its own names (`Host`: keeps out DNS rebinding), come
from its own page if it comes from a page (`Origin`), and carry JSON (`Content-Type`: a form of
another site can't).

A client that leaves, at whatever point, ends its job: nothing is generated for nobody.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..model.chat import Chat
from .replies import AnswerEnd, Defaults, ReplyBuilder, ServedModel, error_reply
from .schemas import ApiError, ChatRequest, CompletionRequest, parse_request
from .worker import Job, Worker

__all__ = ["SECURITY_HEADERS", "Guard", "ModelApp", "error_response"]

MAX_BODY = 1_000_000  # bytes
MAX_WAIT_S = 60.0  # for other requests to be answered first
DRAIN_S = 1.0  # for the rest of a body that isn't wanted
QUIET_S = 0.2  # without a byte of it, after which it has probably been sent

PAGE = Path(__file__).with_name("page")
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

T = TypeVar("T")


class ModelApp:
    """The endpoints of one model, called ``name`` in the API, that ``worker`` answers for."""

    def __init__(self, worker: Worker, name: str) -> None:
        self.worker, self.name, self.created = worker, name, int(time.time())
        self.chat = isinstance(worker.responder, Chat)

    def routes(self) -> Starlette:
        """The application, without what `Guard` adds."""
        app = Starlette(
            routes=[
                Route("/", page_file("page.html", "text/html")),
                Route("/page.css", page_file("page.css", "text/css")),
                Route("/page.js", page_file("page.js", "text/javascript")),
                Route("/v1/models", self.models),
                Route("/v1/models/{name}", self.model),
                Route("/v1/chat/completions", self.chat_completions, methods=["POST"]),
                Route("/v1/completions", self.completions, methods=["POST"]),
            ],
            exception_handlers={
                ApiError: _api_error,
                HTTPException: _http_error,
                ClientDisconnect: _nobody_there,
                Exception: _bug,
            },
        )
        app.router.redirect_slashes = False
        return app

    async def models(self, request: Request) -> Response:
        """The list of models, of which there is one, with the defaults that the page shows."""
        listed: ServedModel = {**self._served(), "snakelm": defaults(self.worker)}
        return JSONResponse({"object": "list", "data": [listed]})

    async def model(self, request: Request) -> Response:
        """The model by its name."""
        if request.path_params["name"] != self.name:
            raise HTTPException(404)
        return JSONResponse(self._served())

    async def chat_completions(self, request: Request) -> Response:
        """The next turn of a conversation."""
        if not self.chat:
            raise _wrong_endpoint("a base model; ask /v1/completions")
        return await self._answer(
            request, parse_request(await _json_body(request), ChatRequest, self.name)
        )

    async def completions(self, request: Request) -> Response:
        """The continuation of a text."""
        if self.chat:
            raise _wrong_endpoint("a tuned model; ask /v1/chat/completions")
        return await self._answer(
            request, parse_request(await _json_body(request), CompletionRequest, self.name)
        )

    def _served(self) -> ServedModel:
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "snakelm"}

    async def _answer(self, request: Request, wanted: ChatRequest | CompletionRequest) -> Response:
        job = self.worker.submit(wanted)
        builder = ReplyBuilder(self.name, chat=self.chat)
        expiry = job.expire_after(MAX_WAIT_S)
        streaming = False

        try:
            # An error before the first piece still decides the status, streamed or not.
            event = await _unless_disconnected(request, job.next_event())
            if isinstance(event, ApiError):
                raise event

            if wanted.stream:
                streaming = True
                return AnswerStream(job, event, builder)

            text, end = await _unless_disconnected(request, _collect(job, event))
            return JSONResponse(builder.complete(text, end))
        finally:
            expiry.cancel()
            if not streaming:  # else AnswerStream does it when it ends
                job.cancelled.set()


class AnswerStream(StreamingResponse):
    """An answer as server-sent events. Starlette cancels it when the client leaves, perhaps before
    its first event is sent; however it ends, its job ends with it.
    """

    def __init__(self, job: Job, event: str | AnswerEnd, builder: ReplyBuilder) -> None:
        super().__init__(_server_sent_events(job, event, builder), media_type="text/event-stream")
        self.job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.cancelled.set()


class Guard:
    """Around the application: refuses requests that aren't meant for it, adds the security headers
    to every response, and closes the connection after it.

    One request per connection: nothing stays open for a next one, and no request hides behind
    another.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = False  # the body, to its end

        async def receive_noted() -> Message:
            nonlocal received
            message = await receive()
            received = received or not message.get("more_body")
            return message

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({**SECURITY_HEADERS, "Connection": "close"})
                if message["status"] in (429, 503):
                    headers["Retry-After"] = "2"
                if not received:
                    await _drain(receive)
            await send(message)

        refusal = self._refusal(scope)
        app = self.app if refusal is None else error_response(refusal)
        await app(scope, receive_noted, send_guarded)

    def _refusal(self, scope: Scope) -> ApiError | None:
        if scope["http_version"] not in ("1.0", "1.1"):
            return ApiError(505, "HTTP version: expected 1.1")

        headers = Headers(scope=scope)
        if headers.get("Host", "").lower() not in self.hosts:
            expected = ", ".join(sorted(self.hosts))
            return ApiError(403, f"Host: expected one of {expected}", code="wrong_host")
        if any(origin.lower() not in self.origins for origin in headers.getlist("Origin")):
            message = "Origin: another site's page may not use this server"
            return ApiError(403, message, code="wrong_origin")
        return None


async def _drain(receive: Receive) -> None:
    """Reads what is still being sent: to close a connection over unread bytes resets it (TCP), and
    the client loses the response.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while True:
                message = await asyncio.wait_for(receive(), QUIET_S)
                if not message.get("more_body"):  # the body's end, or the client's
                    return


async def _json_body(request: Request) -> bytes:
    """The body, read no further than it may be long; the connection bounds the time it takes."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "Content-Type: expected application/json")
    if "Content-Length" not in request.headers or "Transfer-Encoding" in request.headers:
        raise ApiError(411, "Content-Length: missing; expected the number of bytes that follow")
    if int(request.headers["Content-Length"]) > MAX_BODY:
        raise ApiError(413, f"the body is larger than {MAX_BODY:,} bytes", code="body_too_large")
    return await request.body()


async def _unless_disconnected(request: Request, work: Coroutine[object, object, T]) -> T:
    """What ``work`` returns; ClientDisconnect, and ``work`` cancelled, if the client leaves
    before.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.create_task(work), asyncio.create_task(disconnected())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _collect(job: Job, event: str | AnswerEnd) -> tuple[str, AnswerEnd]:
    """The whole answer, which begins with ``event``."""
    pieces: list[str] = []
    following: str | AnswerEnd | ApiError = event
    while isinstance(following, str):
        pieces.append(following)
        following = await job.next_event()
    if isinstance(following, ApiError):
        raise following
    return "".join(pieces), following


async def _server_sent_events(
    job: Job, event: str | AnswerEnd, builder: ReplyBuilder
) -> AsyncIterator[bytes]:
    """The answer that begins with ``event``, as OpenAI streams it: one that fails on the way ends
    with an error, and without the [DONE] of a complete one.
    """
    following: str | AnswerEnd | ApiError = event
    first = True
    while isinstance(following, str):
        yield _sse(builder.chunk(following, first=first))
        first, following = False, await job.next_event()
    if isinstance(following, ApiError):
        yield _sse(error_reply(following))
        return

    yield _sse(builder.last_chunk(following))
    if job.request.stream_options.include_usage:
        yield _sse(builder.usage_chunk(following))
    yield b"data: [DONE]\n\n"


def _sse(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def defaults(worker: Worker) -> Defaults:
    """What holds where a request says nothing."""
    responder = worker.responder
    chat = isinstance(responder, Chat)
    return {
        "chat": chat,
        "context": responder.model.shape.context,
        "max_tokens": responder.max_tokens,
        "seed": responder.seed,
        "system": (responder.system or "") if isinstance(responder, Chat) else "",
        **responder.sampling,
    }


Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def page_file(name: str, media_type: str) -> Endpoint:
    """An endpoint for a file of the page, which is read once."""
    content = (PAGE / name).read_bytes()

    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return endpoint


def error_response(error: ApiError) -> Response:
    """An error in OpenAI's shape. ASCII, for what a message quotes may not be valid Unicode."""
    body = json.dumps(error_reply(error))
    return Response(body, error.status, media_type="application/json")


def _wrong_endpoint(kind: str) -> ApiError:
    return ApiError(404, f"this server has {kind}", code="wrong_endpoint")


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, or no such method there."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        message = "no such address; the page is at /, the API at /v1"
        return error_response(ApiError(404, message, code="not_found"))

    response = error_response(ApiError(error.status_code, error.detail))
    response.headers.update(error.headers or {})
    return response


async def _nobody_there(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # by convention: the client closed the request


async def _bug(request: Request, error: Exception) -> Response:
    """uvicorn logs the traceback."""
    message = "the server failed on this request; its terminal says how"
    return error_response(ApiError(500, message, code="internal_error"))
