"""A finished model behind an address of this machine: a page to talk with it, and the API that
OpenAI's clients speak.

For one user at one machine. Only 127.0.0.1 is listened on, and a request must be addressed to this
server and, where a page sent it, sent by our own page: a site in another tab can reach neither the
model nor the conversation. Everything a request may take is bounded: its bytes, its turns, its
time, how many wait. One answer is generated at a time, by the thread that owns the model.

    schemas  what may be requested         replies     what is sent back
    worker   queue and model thread        app         routes and checks (starlette)
    server   uvicorn on 127.0.0.1          connection  time and number of connections
    run      `serve`, from start to Ctrl-C             page/  HTML, CSS, JavaScript
"""

from importlib.util import find_spec

from ..errors import UserError

_missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
if _missing:
    raise UserError(
        f"snakelm.serve: {' and '.join(_missing)} not installed; pip install 'snakelm[serve]', "
        "or -r requirements.txt in a checkout"
    )

from .run import serve  # noqa: E402 - says first what is missing
from .server import ModelServer  # noqa: E402
from .worker import Worker  # noqa: E402

__all__ = ["ModelServer", "Worker", "serve"]
