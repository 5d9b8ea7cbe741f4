"""The server from its start to Ctrl-C: this thread makes the answers, another takes the requests.

The model is the terminal's: the same settings where a request says nothing else, so the same
conversation has the same answers here and there.
"""

from collections.abc import Callable

from ..log import Log
from ..model.chat import Chat, Continuation
from ..workflow.signals import StopRequest
from .request import Ask
from .server import ADDRESS, Server
from .worker import Desk

__all__ = ["about", "serve", "speakers"]


def serve(talk: Chat | Continuation, name: str, port: int) -> int:
    """Serves until SIGINT or SIGTERM, then lets the answer at hand end at its token; gives the exit
    code 0.

    ``talk``: what answers by itself on a terminal; ``name``: the model's, in the API. UserError for
    a port in use.
    """
    chat = isinstance(talk, Chat)
    with Log("chat") as log, StopRequest() as stop:
        desk = Desk(speakers(talk), say=log.say)
        server = Server(desk, port, name=name, chat=chat, about=about(talk))
        server.start()
        try:
            address = f"http://{ADDRESS}:{server.port}"
            log.say(
                f"open {address}/ in a browser; for OpenAI's clients {address}/v1, model {name}; Ctrl-C ends"
            )
            desk.work(lambda: stop.requested)
            log.say(f"{stop.name}: the server ends")
        finally:
            server.close()
    return 0


def speakers(talk: Chat | Continuation) -> Callable[[Ask], Chat | Continuation]:
    """Makes what answers a request, of ``talk``'s model and cache, and of its settings where the
    request is silent.
    """

    def make(ask: Ask) -> Chat | Continuation:
        how = {
            "most_tokens": ask.most_tokens or talk.most_tokens,
            "seed": talk.seed if ask.seed is None else ask.seed,
            "stop": ask.stop or talk.stop,
            "cache": talk.cache,
            **talk.sampling,
            **ask.sampling,
        }
        if not ask.chat:
            return Continuation(talk.model, talk.tokenizer, **how)
        told = (
            ask.system
            if ask.system is not None
            else talk.system[0]["content"]
            if talk.system
            else None
        )
        speaker = Chat(talk.model, talk.tokenizer, system=told, **how)
        speaker.recall([{"role": role, "content": content} for role, content in ask.turns[:-1]])
        return speaker

    return make


def about(talk: Chat | Continuation) -> dict[str, object]:
    """What the page begins with."""
    told = talk.system[0]["content"] if isinstance(talk, Chat) and talk.system else ""
    settings = {"max_tokens": talk.most_tokens, "seed": talk.seed, "system": told, **talk.sampling}
    return {"context": talk.model.shape.context, **settings}
