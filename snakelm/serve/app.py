"""One request, from its first byte to its last.

    GET   /  /page.css  /page.js                      the page
    GET   /v1/models  /v1/models/<name>               what is served
    POST  /v1/chat/completions                        of a tuned model, whole or as server-sent events
    POST  /v1/completions                             of a base model, which goes on with a text

It must arrive within READ_S as a whole, however its bytes drip, and a client that doesn't read its
reply is left after WRITE_S. One that leaves, leaves the desk too: nothing is made for nobody.
"""

import io
import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .reply import Ending, Reply, error
from .request import Ask, Refused, chat_request, parse, text_request
from .worker import Job

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Handler"]

READ_S, WRITE_S, WAIT_S = (
    10.0,
    20.0,
    60.0,
)  # for a request, for a client to take what it is given, for the desk
LARGEST_BODY = 1_000_000
FOLDER = Path(__file__).with_name("page")
FILES = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "snakelm", ""
    server: "Server"

    def setup(self) -> None:
        """Everything is read against one deadline."""
        super().setup()
        self.rfile = io.BufferedReader(_Timed(self.connection, READ_S))

    def do_GET(self) -> None:
        """The page's files and the models."""
        self._answered(self._get)

    def do_POST(self) -> None:
        """Answers."""
        self._answered(self._post)

    def _answered(self, do: Callable[[], None]) -> None:
        self.close_connection = True
        try:
            self._check_origin()
            do()
        except Refused as refused:
            self._json(error(refused), refused.status)
            self._drain()

    def _drain(self, seconds: float = 1.0) -> None:
        """Reads what is still sent: closing over unread bytes would take the reply back (a TCP
        reset).
        """
        rest = _Timed(self.connection, seconds)
        with suppress(OSError):  # a TimeoutError is one
            self.connection.shutdown(socket.SHUT_WR)
            while rest.read(1 << 16):
                pass

    def _check_origin(self) -> None:
        """Another site's page can make a browser send requests here, under its own name for this
        address.
        """
        hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            raise Refused(
                403,
                f"Host: expected one of {', '.join(sorted(self.server.hosts))}",
                code="wrong_host",
            )
        if any(
            origin.lower() not in {f"http://{host}" for host in self.server.hosts}
            for origin in origins
        ):
            raise Refused(
                403, "Origin: another site's page may not ask this server", code="wrong_origin"
            )

    def _get(self) -> None:
        path = self.path.partition("?")[0]
        server = self.server
        model = {
            "id": server.name,
            "object": "model",
            "created": server.created,
            "owned_by": "snakelm",
        }
        if path in FILES:
            file = FOLDER / FILES[path]
            self._send(200, f"{TYPES[file.suffix]}; charset=utf-8", file.read_bytes())
        elif path == "/v1/models":
            self._json(
                {
                    "object": "list",
                    "data": [{**model, "snakelm": {**server.about, "chat": server.chat}}],
                }
            )
        elif unquote(path) == f"/v1/models/{server.name}":
            self._json(model)
        else:
            raise Refused(
                404, "no such address; the page is at /, the API at /v1", code="not_found"
            )

    def _post(self) -> None:
        paths = {"/v1/chat/completions": True, "/v1/completions": False}
        chat = paths.get(self.path)
        if chat is None:
            raise Refused(404, f"no such address; expected {' or '.join(paths)}", code="not_found")
        if chat != self.server.chat:
            kind, path = (
                ("a tuned", "/v1/chat/completions")
                if self.server.chat
                else ("a base", "/v1/completions")
            )
            raise Refused(404, f"this server has {kind} model; ask {path}", code="wrong_endpoint")
        ask = (chat_request if chat else text_request)(parse(self._body()), self.server.name)
        job = self.server.desk.take(ask)
        try:
            self._reply(ask, self._events(job))
        finally:
            job.given_up.set()

    def _body(self) -> bytes:
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "Content-Type: expected application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or self.headers.get("Transfer-Encoding"):
            raise Refused(411, "Content-Length: missing; expected the number of bytes that follow")
        if len(length) > 12 or int(length) > LARGEST_BODY:
            raise Refused(
                413, f"the body is larger than {LARGEST_BODY:,} bytes", code="body_too_large"
            )
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(400, f"the body ends after {len(body)} of {length} bytes")
        return body

    def _events(self, job: Job) -> Iterator[str | Ending | Refused]:
        """What the desk tells, to the last; ends early when the client has gone."""
        began = time.monotonic()
        while True:
            closed = (
                self.server.desk.closed.is_set()
            )  # asked first: whatever is told before that is still read
            event = job.event(0.1)
            if event is not None:
                yield event
                if not isinstance(event, str):
                    return
            elif closed:
                yield Refused(503, "the server is shutting down", code="shutting_down")
                return
            elif not job.begun and time.monotonic() - began > WAIT_S:
                yield Refused(
                    503,
                    f"no answer begun within {WAIT_S:.0f} s: others are before you",
                    code="timeout",
                )
                return
            elif (
                not self.server.desk.closed.is_set() and self._gone()
            ):  # close ends the reading side itself
                return

    def _gone(self) -> bool:
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def _reply(self, ask: Ask, events: Iterator[str | Ending | Refused]) -> None:
        reply, first = Reply(ask, self.server.name), next(events, None)
        if first is None:
            return
        if isinstance(first, Refused):
            raise first
        if ask.stream:
            self._stream(reply, first, events)
            return
        text = []
        while isinstance(first, str):
            text.append(first)
            first = next(events, None)
        if isinstance(first, Refused):
            raise first
        if first is not None:
            self._json(reply.whole("".join(text), first))

    def _stream(self, reply: Reply, event: str | Ending | Refused | None, events: Iterator) -> None:
        self._head(200, "text/event-stream; charset=utf-8")
        first = True
        while isinstance(event, str):
            self._event(reply.piece(event, first=first))
            first, event = False, next(events, None)
        if isinstance(event, Refused):
            self._event(error(event))
        elif event is not None:
            self._event(reply.last(event))
            if reply.ask.usage:
                self._event(reply.usage(event))
            self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())

    def _json(self, value: dict[str, Any], status: int = 200) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(self, status: int, kind: str, length: int | None = None) -> None:
        """Without a length the body ends where the connection does."""
        self.connection.settimeout(WRITE_S)
        self.send_response(status)
        headers = {**ALWAYS, "Content-Type": kind, "Connection": "close"}
        if length is not None:
            headers["Content-Length"] = str(length)
        if status in (429, 503):
            headers["Retry-After"] = "2"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class finds wrong with a request, in the form of all errors here."""
        self.close_connection = True
        self.request_version = (
            self.protocol_version
        )  # else a line that can't be read gets a reply without a head
        self._json(error(Refused(code, HTTPStatus(code).phrase)), code)
        self._drain()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the desk says what is worth a line."""


class _Timed(io.RawIOBase):
    """A connection's bytes up to a moment, after which reading is a TimeoutError."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection, self.ends = connection, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)
