"""What a client gets, as OpenAI's API shapes it: whole answers, pieces of one, the list of models,
errors.

One field is ours, `snakelm`: in an answer, how many of the oldest turns no longer fitted the
context; in the list of models, what the page needs to know.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .request import Ask, Refused

__all__ = ["Ending", "Reply", "error"]

KINDS = {
    400: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


@dataclass(frozen=True)
class Ending:
    """How an answer ended: ``reason`` stop or length; tokens of both sides; turns dropped before it
    began.
    """

    reason: str
    asked: int
    said: int
    dropped: int = 0

    @property
    def usage(self) -> dict[str, int]:
        """Tokens, as the API counts them."""
        return {
            "prompt_tokens": self.asked,
            "completion_tokens": self.said,
            "total_tokens": self.asked + self.said,
        }


class Reply:
    """The forms of one answer; they share an id and a time."""

    def __init__(self, ask: Ask, model: str) -> None:
        self.ask, self.model = ask, model
        self.id = f"{'chatcmpl' if ask.chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.part_kind = "chat.completion.chunk" if ask.chat else "text_completion"

    def whole(self, text: str, ending: Ending) -> dict[str, Any]:
        """The answer at once."""
        said = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self.ask.chat
            else {"text": text}
        )
        choice = {"index": 0, **said, "finish_reason": ending.reason, "logprobs": None}
        form = self._form("chat.completion" if self.ask.chat else "text_completion", [choice])
        return {**form, "usage": ending.usage, "snakelm": {"dropped_turns": ending.dropped}}

    def piece(self, text: str, *, first: bool) -> dict[str, Any]:
        """A part of it; the first of a conversation's names the role."""
        role = {"role": "assistant"} if first else {}
        return self._part(
            {"delta": {**role, "content": text}} if self.ask.chat else {"text": text}, None
        )

    def last(self, ending: Ending) -> dict[str, Any]:
        """What closes the parts."""
        part = self._part({"delta": {}} if self.ask.chat else {"text": ""}, ending.reason)
        return {**part, "snakelm": {"dropped_turns": ending.dropped}}

    def usage(self, ending: Ending) -> dict[str, Any]:
        """One part more, for those who asked to be told."""
        return {**self._form(self.part_kind, []), "usage": ending.usage}

    def _part(self, said: Mapping[str, Any], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, **said, "finish_reason": reason, "logprobs": None}
        return self._form(self.part_kind, [choice])

    def _form(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def error(refused: Refused) -> dict[str, Any]:
    """The body of a reply that is none."""
    kind = KINDS.get(
        refused.status, "invalid_request_error" if refused.status < 500 else "server_error"
    )
    return {
        "error": {
            "message": str(refused),
            "type": kind,
            "param": refused.param,
            "code": refused.code,
        }
    }
