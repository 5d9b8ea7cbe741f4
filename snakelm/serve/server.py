"""The listening socket and its connections: how many there may be, and how they end.

A connection serves one request and is closed: nothing is left open for a next one, and no request
hides behind another.
"""

import errno
import socket
import socketserver
import sys
import threading
import time
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any

from ..errors import UserError
from .handler import Handler
from .worker import Desk

__all__ = ["ADDRESS", "Server"]

ADDRESS = "127.0.0.1"
GRACE_S = 3.0  # for last words when the server ends
MOST_CONNECTIONS = 32
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PORT_PROBLEMS = {errno.EADDRINUSE: "in use by another program", errno.EACCES: "kept for the system"}


class Server(ThreadingHTTPServer):
    """On 127.0.0.1; ``port`` 0 takes a free one. ``name`` of the model; ``about``: what the page is
    told of it.

    `start` and `close` are the whole of its life; the desk's `work` goes on in another thread
    meanwhile.
    """

    daemon_threads = False  # close waits for them; all of them have deadlines
    request_queue_size = 64

    def __init__(
        self, desk: Desk, port: int, *, name: str, chat: bool, about: dict[str, Any] | None = None
    ) -> None:
        self.desk, self.name, self.chat, self.about = desk, name, chat, about or {}
        self.created = int(time.time())
        self.open: set[socket.socket] = set()
        self.open_lock = threading.Lock()
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as problem:
            if problem.errno not in PORT_PROBLEMS:
                raise
            why = PORT_PROBLEMS[problem.errno]
            raise UserError(
                f"--port {port}: {why}; name another, or 0 to take a free one: --port 0"
            ) from None
        self.hosts = {f"{name}:{self.port}" for name in (ADDRESS, "localhost")}

    @property
    def port(self) -> int:
        """The port it has."""
        return self.server_address[1]

    def start(self) -> None:
        """Begins to take requests."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="server")
        self._thread.start()

    def close(self) -> None:
        """Takes no more, lets go of clients that haven't asked yet, waits for the others to get
        their last words.
        """
        self.desk.close()
        self.shutdown()
        self._thread.join()
        self._end_all(socket.SHUT_RD)
        patience = threading.Timer(GRACE_S, self._end_all, [socket.SHUT_RDWR])
        patience.start()
        self.server_close()
        patience.cancel()

    def _end_all(self, how: int) -> None:
        with self.open_lock:
            for connection in self.open:
                with suppress(OSError):  # ended already
                    connection.shutdown(how)

    def server_bind(self) -> None:
        """As the base class, without its look-up of the machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def process_request(self, request: socket.socket, client_address: Any) -> None:
        """A thread for the connection, unless there are too many."""
        with self.open_lock:
            full = len(self.open) >= MOST_CONNECTIONS
            if not full:
                self.open.add(request)
        if full:
            request.setblocking(False)
            request.send(BUSY)
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        """Forgets a connection."""
        with self.open_lock:
            self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no error; another is ours and shows its traceback."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)
