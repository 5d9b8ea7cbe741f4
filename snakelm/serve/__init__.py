"""A finished model behind an address of this machine: a page to talk with it, and the API that
OpenAI's clients speak.

Python's own HTTP server, for one person at one machine. Only 127.0.0.1 is listened on, and a
request must say that it was meant for it (`Host`) and, where a page sent it, that the page is ours
(`Origin`): a site in another tab can reach neither the model nor what was said. Everything a
request may take is bounded: its bytes, its turns, its time, how many wait. One answer is made at a
time, by the thread that owns the model.
"""

from .run import serve
from .server import Server
from .worker import Desk

__all__ = ["Desk", "Server", "serve"]
