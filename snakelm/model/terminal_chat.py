"""A conversation on a terminal or through a pipe: answers go to stdout, everything else to stderr.

/reset begins a new conversation, /quit or Ctrl-D ends, Ctrl-C stops an answer.
"""

import io
import os
import sys
from collections.abc import Iterator

from rich.console import Console

from ..errors import UserError
from ..terminal import harmless_lines
from .chat import Chat, Continuation

__all__ = ["converse"]

HELP = "/reset begins a new conversation, /quit or Ctrl-D ends, Ctrl-C stops an answer"


def converse(responder: Chat | Continuation, prompt: str | None = None) -> None:
    """Answers ``prompt``, or every line that is typed or piped in."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that doesn't speak UTF-8

    try:
        if prompt is not None:
            _answer(responder, prompt)
        else:
            _answer_lines(responder, interactive=sys.stdin.isatty())
    except BrokenPipeError:  # whoever read the answers has enough
        # What is still buffered goes nowhere, so that Python's flush at exit doesn't fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _answer_lines(responder: Chat | Continuation, interactive: bool) -> None:
    if interactive:
        import readline  # noqa: F401 - gives input() its line editing

        _note(HELP)

    prompt = "you: " if isinstance(responder, Chat) else "text: "
    for line in _typed_lines(prompt) if interactive else _piped_lines():
        if line == "/quit":
            return
        if line == "/reset":
            responder.reset()
            _note("a new conversation")
        elif line.strip():
            try:
                _answer(responder, line)
            except UserError as error:
                if not interactive:
                    raise
                _note(str(error))


def _piped_lines() -> Iterator[str]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(newline="\n")  # a carriage return within a line ends none
    for line in sys.stdin:
        yield line.rstrip("\r\n")


def _typed_lines(prompt: str) -> Iterator[str]:
    while True:
        try:
            yield input(prompt)
        except KeyboardInterrupt:
            _note("\n/quit or Ctrl-D ends")
        except EOFError:
            print(file=sys.stderr)
            return


def _answer(responder: Chat | Continuation, question: str) -> None:
    pieces = responder.answer(question)
    if responder.dropped_turns:
        _note(
            "the conversation is longer than the model's context: "
            f"its first {responder.dropped_turns} turns were dropped"
        )

    stopped = False
    try:
        for piece in pieces:
            print(_printable(piece), end="", flush=True)
    except KeyboardInterrupt:
        stopped = True
        pieces.close()
    print(flush=True)

    if stopped:
        _note("stopped")
        if not sys.stdin.isatty():  # the rest of the pipe is not wanted either
            raise KeyboardInterrupt
    elif responder.truncated:
        _note("cut off: no more room, or --max-tokens reached")


def _printable(text: str) -> str:
    """Without control characters: what a model says must not control the terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def _note(text: str) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    console.print(harmless_lines(f"[{text}]"), style="dim")
