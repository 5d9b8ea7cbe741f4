"""What a client gets, in the shapes of OpenAI's API: complete answers, chunks of one, the list of
models, errors.

One field is ours, `snakelm`: in an answer, how many of the oldest turns no longer fitted the
context; in the list of models, the defaults that the page starts from.
"""

import time
import uuid
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from .schemas import ApiError

__all__ = [
    "AnswerEnd",
    "Defaults",
    "ErrorReply",
    "ReplyBuilder",
    "ServedModel",
    "error_reply",
]

ERROR_TYPES = {
    400: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

FinishReason = Literal["stop", "length"]


class Usage(TypedDict):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Extension(TypedDict):
    """Our own field in an answer."""

    dropped_turns: int


class Delta(TypedDict):
    """A message as far as a chunk brings it: the first one names the role, the last is empty."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]


class AssistantMessage(TypedDict):
    """A complete answer in a conversation."""

    role: Literal["assistant"]
    content: str
    refusal: None


class Choice(TypedDict):
    """The answer; of `message`, `delta` and `text` there is one."""

    index: int
    message: NotRequired[AssistantMessage]
    delta: NotRequired[Delta]
    text: NotRequired[str]
    finish_reason: FinishReason | None
    logprobs: None


class GenerationReply(TypedDict):
    """A complete answer, or a chunk of one."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: NotRequired[Usage]
    snakelm: NotRequired[Extension]


class ErrorDetail(TypedDict):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(TypedDict):
    """The body of every error."""

    error: ErrorDetail


class Defaults(TypedDict):
    """What holds where a request says nothing, and what the page shows of the model."""

    chat: bool
    context: int
    max_tokens: int
    seed: int
    system: str
    temperature: NotRequired[float]
    top_k: NotRequired[int | None]
    top_p: NotRequired[float]


class ServedModel(TypedDict):
    """An entry of the list of models."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["snakelm"]
    snakelm: NotRequired[Defaults]


@dataclass(frozen=True)
class AnswerEnd:
    """How an answer ended: why, the tokens of both sides, the turns dropped before it began."""

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    dropped_turns: int = 0

    @property
    def usage(self) -> Usage:
        """The tokens as the API counts them."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


class ReplyBuilder:
    """Replies for one answer of ``model``; they share an id and a time."""

    def __init__(self, model: str, *, chat: bool) -> None:
        self.model, self.chat = model, chat
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def complete(self, text: str, end: AnswerEnd) -> GenerationReply:
        """The answer at once."""
        choice: Choice = {"index": 0, "finish_reason": end.reason, "logprobs": None}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text

        reply = self._reply("chat.completion" if self.chat else "text_completion", [choice])
        reply["usage"] = end.usage
        reply["snakelm"] = {"dropped_turns": end.dropped_turns}
        return reply

    def chunk(self, text: str, *, first: bool) -> GenerationReply:
        """A piece of the answer; in a conversation the ``first`` one names the role."""
        delta: Delta = {"role": "assistant", "content": text} if first else {"content": text}
        return self._chunk(delta, None)

    def last_chunk(self, end: AnswerEnd) -> GenerationReply:
        """Says why the answer ended."""
        reply = self._chunk({}, end.reason)
        reply["snakelm"] = {"dropped_turns": end.dropped_turns}
        return reply

    def usage_chunk(self, end: AnswerEnd) -> GenerationReply:
        """One more chunk, for clients that request token counts."""
        reply = self._reply(self._chunk_object, [])
        reply["usage"] = end.usage
        return reply

    @property
    def _chunk_object(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _chunk(self, delta: Delta, reason: FinishReason | None) -> GenerationReply:
        choice: Choice = {"index": 0, "finish_reason": reason, "logprobs": None}
        if self.chat:
            choice["delta"] = delta
        else:
            choice["text"] = delta.get("content", "")
        return self._reply(self._chunk_object, [choice])

    def _reply(self, kind: str, choices: list[Choice]) -> GenerationReply:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def error_reply(error: ApiError) -> ErrorReply:
    """The body that goes with an error's status."""
    other = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "error": {
            "message": str(error),
            "type": ERROR_TYPES.get(error.status, other),
            "param": error.param,
            "code": error.code,
        }
    }
