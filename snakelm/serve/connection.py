"""The bounds of a connection that uvicorn has no settings for.

uvicorn times nothing but idle keep-alive: a client that drips its request, or doesn't read its
response, would hold a connection for ever. So every connection has one deadline, moved from phase
to phase: to send a complete request, then (as long as it doesn't take what is written) to read it,
then to close. And there is a limit to connections themselves; uvicorn's `limit_concurrency` counts
only those with a request. What h11 finds wrong with a request is answered as JSON, like every other
error.
"""

import asyncio
import sys
from collections.abc import Callable
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import SECURITY_HEADERS, error_response
from .schemas import ApiError

__all__ = ["BoundedConnection"]

READ_S = 10.0  # for a request, from the first byte to the last
WRITE_S = 20.0  # for the client to take what it is sent
LINGER_S = 1.0  # for what a refused client is still sending
MAX_CONNECTIONS = 32


class BoundedConnection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with deadlines and a limit to how many there are."""

    deadline: asyncio.TimerHandle | None = None
    began_reading = False  # a byte has come
    finished_reading = False  # one request per connection: what still comes is dropped

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Gives the client READ_S for its request, unless there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(ApiError(503, "too many connections; try again in a moment"))
        else:
            self._limit(READ_S, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Stops the clock once the request is complete; a byte at a time doesn't restart it."""
        if self.finished_reading:
            return
        self.began_reading = True
        super().data_received(data)
        if self.cycle is not None and not self.cycle.more_body:
            self.finished_reading = True
            self._unlimit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the deadline."""
        self._unlimit()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client doesn't read as fast as we write."""
        super().pause_writing()
        self._limit(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again; a connection that is being closed keeps its deadline."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._unlimit()

    def on_response_complete(self) -> None:
        """`close` waits for the last bytes to be read; this bounds how long."""
        super().on_response_complete()
        self._limit(WRITE_S, self.transport.abort)

    def shutdown(self) -> None:
        """The server ends: drops a client that hasn't sent its request yet."""
        if self.finished_reading:
            super().shutdown()
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """h11 has found no HTTP request in what was sent. Called while its error is handled, which
        knows the status (431 for headers too long) and what was wrong.
        """
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        self._refuse(ApiError(status, f"not a valid HTTP request: {error}"))

    def _too_slow(self) -> None:
        """The time for a request is over. Who hasn't begun one waits for no answer."""
        if self.began_reading:
            self._refuse(ApiError(408, f"the request took longer than {READ_S:g} s to arrive"))
        else:
            self.transport.abort()

    def _refuse(self, error: ApiError) -> None:
        """Sends an error for want of a request that the application could answer."""
        self.finished_reading = True
        if self.cycle is not None:  # the application may be answering what came before the fault
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # a response is on its way
            self.transport.close()
            return

        response = error_response(error)
        headers = {**response.headers, **SECURITY_HEADERS, "Connection": "close"}
        if error.status == 503:
            headers["Retry-After"] = "2"
        for event in (
            h11.Response(
                status_code=error.status,
                reason=HTTPStatus(error.status).phrase,
                headers=list(headers.items()),
            ),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")

        # To close over unread bytes would reset the connection, and the client lose the response.
        self.transport.write_eof()
        self._limit(LINGER_S, self.transport.close)

    def _limit(self, seconds: float, then: Callable[[], None]) -> None:
        self._unlimit()
        self.deadline = self.loop.call_later(seconds, then)

    def _unlimit(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
