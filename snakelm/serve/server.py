"""uvicorn in a thread of its own, on a socket of 127.0.0.1 that is bound before it starts."""

import errno
import socket
import threading
import time

import uvicorn

from ..errors import UserError
from .app import Guard, ModelApp
from .connection import BoundedConnection
from .worker import Worker

__all__ = ["ADDRESS", "ModelServer"]

ADDRESS = "127.0.0.1"
GRACE_S = 3  # for the last words of answers when the server ends
MAX_HEADER = 65_536  # bytes of request line and headers
BACKLOG = 64
BIND_PROBLEMS = {
    errno.EADDRINUSE: "in use by another program",
    errno.EACCES: "reserved for the system",
}


class ModelServer:
    """The HTTP side of ``worker``; the model is called ``name`` in the API. ``port`` 0 takes a free
    one.

    `start` and `close` are its whole life; the worker runs in another thread meanwhile. UserError
    for a port that can't be had.
    """

    def __init__(self, worker: Worker, port: int, name: str) -> None:
        self.worker = worker
        self.socket = _listen(port)
        self.port: int = self.socket.getsockname()[1]

        config = uvicorn.Config(
            Guard(ModelApp(worker, name).routes(), self.port),
            loop="asyncio",
            http=BoundedConnection,
            ws="none",
            lifespan="off",
            backlog=BACKLOG,
            h11_max_incomplete_event_size=MAX_HEADER,
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
            log_config=None,
            log_level="error",  # tracebacks of our own bugs; the worker logs the answers
            access_log=False,
        )
        self.uvicorn = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.uvicorn.run, kwargs={"sockets": [self.socket]}, name="http"
        )

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self.uvicorn.server_state.connections)

    def start(self) -> None:
        """Begins to accept requests."""
        self.thread.start()
        while not self.uvicorn.started and self.thread.is_alive():
            time.sleep(0.005)

    def close(self) -> None:
        """Accepts no more, drops connections without a request, and gives answers GRACE_S for their
        last words.
        """
        self.worker.close()
        self.uvicorn.should_exit = True
        self.thread.join()


def _listen(port: int) -> socket.socket:
    """A listening socket: from here on clients wait, rather than be refused, until `start`."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
        listening.listen(BACKLOG)
    except OSError as problem:
        listening.close()
        if problem.errno not in BIND_PROBLEMS:
            raise
        raise UserError(
            f"--port {port}: {BIND_PROBLEMS[problem.errno]}; "
            "name another, or 0 to take a free one: --port 0"
        ) from None
    return listening
