"""The server from its start to Ctrl-C: this thread generates the answers, another one talks HTTP.

The model is the terminal's: its settings hold where a request says nothing else, so the same
conversation has the same answers here and there.
"""

from ..log import Log
from ..model.chat import Chat, Continuation
from ..workflow.signals import StopRequest
from .server import ADDRESS, ModelServer
from .worker import Worker

__all__ = ["serve"]


def serve(responder: Chat | Continuation, name: str, port: int) -> int:
    """Serves until SIGINT or SIGTERM, then ends the current answer at its token; gives the exit
    code 0.

    ``responder``: what answers on a terminal; ``name``: the model's, in the API. UserError for a
    port in use.
    """
    with Log("chat") as log, StopRequest() as stop:
        worker = Worker(responder, log=log.say)
        server = ModelServer(worker, port, name)
        server.start()
        try:
            address = f"http://{ADDRESS}:{server.port}"
            log.say(
                f"open {address}/ in a browser; for OpenAI's clients {address}/v1, model {name}; "
                "Ctrl-C ends"
            )
            worker.run(lambda: stop.requested)
            log.say(f"{stop.name}: the server ends")
        finally:
            server.close()
    return 0
