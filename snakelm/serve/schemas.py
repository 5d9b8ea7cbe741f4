"""What a client may request: OpenAI's chat completions and completions as pydantic models, each
field with its bounds.

A field that this server cannot honour (several answers, tools, penalties) is refused by name unless
it says what would happen anyway: an answer that silently differs from the one requested is worse
than none. Fields that only identify the client or its bill are accepted and ignored. A field that
is null counts as absent, as in OpenAI's own API.

Each field's ``description`` completes the sentence "expected …" of its error message.
"""

import difflib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..data.conversations.chat_template import Message
from ..json_files import JsonError, parse_json
from ..model.chat import Sampling

__all__ = [
    "ApiError",
    "ChatRequest",
    "CompletionRequest",
    "parse_request",
]

MAX_MESSAGES = 200
MAX_SEED = 2**63 - 1  # torch's generators take a signed 64-bit integer
MAX_TOKENS = 1_000_000
MAX_FIELDS = 100  # of a request
MAX_DEPTH = 50  # of lists and objects in one another; the deepest that counts has 5
STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
OPENING, CLOSING = (np.frombuffer(brackets, np.uint8) for brackets in (b"[{", b"]}"))
SHOWN_CHARACTERS = 60  # of a wrong value, in an error message


class ApiError(Exception):
    """A request that gets an error instead of an answer: HTTP status, and the fields of OpenAI's
    error object.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


def fixed(value: object) -> str:
    """The description of a field that may only confirm what happens anyway."""
    return f"{json.dumps(value)}, or nothing: this server can't do anything else"


# Zero of either JSON number type, and an empty list or object, are what a client sends by default.
Zero = Annotated[float, Field(ge=0, le=0, description=fixed(0))]
EmptyList = Annotated[list[object], Field(max_length=0, description=fixed([]))]
TokenLimit = Annotated[
    int | None, Field(ge=1, le=MAX_TOKENS, description=f"a whole number from 1 to {MAX_TOKENS}")
]
StopText = Annotated[str, Field(min_length=1, max_length=100)]


class RequestModel(BaseModel):
    """Strict: "1" and true are no numbers; an unknown field is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TextFormat(RequestModel):
    """`response_format` that confirms the only one there is."""

    type: Literal["text"]


class StreamOptions(BaseModel):
    """`stream_options`; others than this one change nothing about the answer."""

    model_config = ConfigDict(strict=True, extra="ignore")
    include_usage: bool | None = None


class GenerationRequest(RequestModel):
    """The fields that both kinds of request have."""

    model: object = None  # compared with the served model's name, whatever its type

    temperature: float | None = Field(None, ge=0, le=2, description="a number from 0 to 2")
    top_p: float | None = Field(None, gt=0, le=1, description="a number above 0, at most 1")
    top_k: int | None = Field(None, ge=1, le=1_000_000, description="a whole number from 1")
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description=f"a whole number from 0 to {MAX_SEED}"
    )
    max_tokens: TokenLimit = None
    max_completion_tokens: TokenLimit = None
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] = Field(
        [], description="up to 4 texts of 1 to 100 characters"
    )
    stream: bool = Field(False, description="true or false")
    stream_options: StreamOptions = Field(StreamOptions(), description="an object")

    # What this server cannot do.
    n: Literal[1] = Field(1, description=fixed(1))
    best_of: Literal[1] = Field(1, description=fixed(1))
    frequency_penalty: Zero = 0.0
    presence_penalty: Zero = 0.0
    logprobs: Literal[False] = Field(False, description=fixed(False))
    top_logprobs: Literal[0] = Field(0, description=fixed(0))
    logit_bias: dict[str, object] = Field({}, max_length=0, description=fixed({}))
    response_format: TextFormat | None = Field(None, description=fixed({"type": "text"}))
    modalities: list[Literal["text"]] = Field(
        ["text"], min_length=1, max_length=1, description=fixed(["text"])
    )
    tools: EmptyList = []
    tool_choice: Literal["none"] = Field("none", description=fixed("none"))
    functions: EmptyList = []
    function_call: Literal["none"] = Field("none", description=fixed("none"))
    echo: Literal[False] = Field(False, description=fixed(False))
    suffix: Literal[""] = Field("", description=fixed(""))

    # What makes no difference to the answer.
    metadata: object = None
    parallel_tool_calls: object = None
    prompt_cache_key: object = None
    prompt_cache_retention: object = None
    safety_identifier: object = None
    service_tier: object = None
    store: object = None
    user: object = None

    @property
    def token_limit(self) -> int | None:
        """The longest answer, under its new or its old name."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stop_texts(self) -> list[str]:
        """`stop` as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def sampling(self) -> Sampling:
        """Those of the sampling settings that the request names."""
        named: Sampling = {}
        if self.temperature is not None:
            named["temperature"] = self.temperature
        if self.top_k is not None:
            named["top_k"] = self.top_k
        if self.top_p is not None:
            named["top_p"] = self.top_p
        return named


class TextPart(BaseModel):
    """A part of a message; images and sounds have other types."""

    model_config = ConfigDict(strict=True, extra="ignore")
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One turn. Clients send answers back with all that came with them, so more fields may be
    there.
    """

    model_config = ConfigDict(strict=True, extra="ignore")
    role: Literal["system", "developer", "user", "assistant"] = Field(
        description="user or assistant (the first may be system)"
    )
    content: str | list[TextPart] = Field(description="text")

    @property
    def text(self) -> str:
        """The content without its division into parts."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatRequest(GenerationRequest):
    """The body of /v1/chat/completions."""

    messages: list[Annotated[ChatMessage, Field(description="an object with role and content")]] = (
        Field(
            min_length=1,
            max_length=MAX_MESSAGES,
            description=f"a list of 1 to {MAX_MESSAGES} messages",
        )
    )

    @property
    def system(self) -> str | None:
        """The system message, which comes first if there is one; "developer" is its newer name."""
        first = self.messages[0]
        return first.text if first.role in ("system", "developer") else None

    @property
    def turns(self) -> list[Message]:
        """The messages after the system message, as chat_template takes them."""
        after = self.messages[self.system is not None :]
        return [{"role": message.role, "content": message.text} for message in after]

    def check_turns(self) -> None:
        """ApiError unless user and assistant alternate and the user has the last word."""
        first = int(self.system is not None)
        for i, message in enumerate(self.messages[first:], start=first):
            expected = "user" if (i - first) % 2 == 0 else "assistant"
            if message.role != expected:
                raise _invalid(
                    f"messages[{i}].role",
                    message.role,
                    f"{expected!r}: user and assistant alternate after the system message, if any",
                )

        if len(self.messages) == first:
            raise _invalid("messages", "a system message alone", "a user's message at the end")
        if self.messages[-1].role != "user":
            raise _invalid("messages", self.messages[-1].role, "a user's message at the end")


class CompletionRequest(GenerationRequest):
    """The body of /v1/completions."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)] = Field(
        description="one text"
    )

    @property
    def text(self) -> str:
        """What the model continues."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


R = TypeVar("R", bound=GenerationRequest)


def parse_request(body: bytes, schema: type[R], served: str) -> R:
    """A request's body as ``schema``, for the model named ``served``; ApiError that names what is
    wrong with it.
    """
    try:
        _check_depth(body)
        parsed: dict[str, object] = parse_json(body)
    except JsonError as error:
        raise ApiError(
            400, f"the body: {error}; expected a JSON object as in OpenAI's API"
        ) from None
    if len(parsed) > MAX_FIELDS:
        raise ApiError(400, f"the body: {len(parsed):,} fields; expected at most {MAX_FIELDS}")
    given = {name: value for name, value in parsed.items() if value is not None}

    try:
        request = schema.model_validate(given)
    except ValidationError as error:
        raise _refusal(error, schema) from None
    if request.model != served:
        raise ApiError(
            404,
            f"model: found {_shown(request.model)}; this server has {served!r} (GET /v1/models)",
            param="model",
            code="model_not_found",
        )

    if isinstance(request, ChatRequest):
        request.check_turns()
    return request


def _check_depth(body: bytes) -> None:
    """JsonError for JSON that whatever walks through it might not get out of: how deep Python may
    go depends on where it stands.
    """
    bare = np.frombuffer(STRINGS.sub(b"", body), np.uint8)
    steps = np.isin(bare, OPENING).astype(np.int8) - np.isin(bare, CLOSING).astype(np.int8)
    if steps.size and steps.cumsum(dtype=np.int64).max() > MAX_DEPTH:
        raise JsonError("not JSON: nested too deeply", "not JSON")


def _refusal(error: ValidationError, schema: type[GenerationRequest]) -> ApiError:
    """The first of the errors, unless another one is a misspelt field: that explains more."""
    faults = error.errors(include_url=False, include_context=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    if fault["type"] == "string_unicode" and not fault["loc"]:
        return ApiError(400, "a field's name isn't valid Unicode", code="unknown_parameter")
    if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
        return _unknown_field(str(fault["loc"][0]), schema)

    path, expected = _expectation(fault["loc"], schema)
    found = None if fault["type"] == "missing" else fault["input"]
    return _invalid(path, found, expected)


def _unknown_field(name: str, schema: type[GenerationRequest]) -> ApiError:
    close = difflib.get_close_matches(name[:80], sorted(schema.model_fields), 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return ApiError(
        400, f"{name[:80]}: no such field{hint}", param=name[:80], code="unknown_parameter"
    )


def _expectation(
    location: Sequence[str | int], schema: type[GenerationRequest]
) -> tuple[str, str | None]:
    """Where a fault is, as `messages[3].role`, and the description of what belongs there."""
    name = str(location[0])
    path, expected = name, schema.model_fields[name].description
    if name != "messages" or len(location) == 1:
        return path, expected

    path, expected = f"{path}[{location[1]}]", "an object with role and content"
    inner = str(location[2]) if len(location) > 2 else ""
    if inner in ChatMessage.model_fields:
        path, expected = f"{path}.{inner}", ChatMessage.model_fields[inner].description
    return path, expected


def _invalid(path: str, found: object, expected: str | None) -> ApiError:
    return ApiError(
        400, f"{path}: found {_shown(found)}; expected {expected}", param=path, code="invalid_value"
    )


def _shown(value: Any) -> str:
    """A value in a message: short, on one line, ASCII."""
    if value is None:
        return "nothing"
    text = json.dumps(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
