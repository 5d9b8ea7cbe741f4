"""What a client asks for, from JSON: the fields of OpenAI's API that mean something here, each with
its bounds.

A field whose wish can't be met (two answers, tools, penalties) is refused rather than passed over:
an answer that quietly is another than the one asked for is worse than none. Fields that only name
the asker or his bill are let by.
"""

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Ask", "Refused", "chat_request", "parse", "text_request"]

MOST_TURNS = 200
MOST_STOPS, LONGEST_STOP = 4, 100  # texts, characters
LARGEST_SEED = 2**63 - 1

# name → (type, what is expected in words, test)
NUMBERS: dict[str, tuple[type, str, Callable[[Any], bool]]] = {
    "temperature": (float, "a number from 0 to 2", lambda v: 0 <= v <= 2),
    "top_p": (float, "a number above 0, at most 1", lambda v: 0 < v <= 1),
    "top_k": (int, "a whole number from 1", lambda v: 1 <= v <= 1_000_000),
    "seed": (int, f"a whole number from 0 to {LARGEST_SEED}", lambda v: 0 <= v <= LARGEST_SEED),
    "max_tokens": (int, "a whole number from 1", lambda v: 1 <= v <= 1_000_000),
    "max_completion_tokens": (int, "a whole number from 1", lambda v: 1 <= v <= 1_000_000),
}
ONLY = {
    "n": 1, "best_of": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False, "top_logprobs": 0,
    "logit_bias": {}, "response_format": {"type": "text"}, "modalities": ["text"], "tools": [], "tool_choice": "none",
    "functions": [], "function_call": "none", "echo": False, "suffix": "",
}  # fmt: skip
NO_MATTER = {
    "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "service_tier", "store", "user",
}  # fmt: skip
OWN = {"model", "stream", "stream_options", "stop"}


class Refused(Exception):
    """A request that gets no answer: an HTTP status, and what OpenAI's clients read of an error."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


@dataclass(frozen=True)
class Ask:
    """A sound request. ``turns`` end with the question; a text to go on with is the only turn, and
    ``chat`` is off.

    ``sampling``: what of temperature, top_k and top_p was said.
    """

    chat: bool
    turns: tuple[tuple[str, str], ...]  # role, content
    system: str | None = None
    stream: bool = False
    usage: bool = False
    most_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    sampling: dict[str, float] = field(default_factory=dict)


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a request's body."""
    try:
        found = json.loads(body)
    except (
        ValueError,
        RecursionError,
    ):  # not JSON, not UTF-8, a number of thousands of digits; nested too deeply
        raise Refused(400, "the body is no JSON; expected an object as of OpenAI's API") from None
    if not isinstance(found, dict):
        raise Refused(400, f"the body is a JSON {type(found).__name__}; expected an object")
    return {name: value for name, value in found.items() if value is not None}


def chat_request(given: Mapping[str, Any], model: str) -> Ask:
    """A body for /v1/chat/completions; ``model``: the name that is served."""
    _known(given, {*OWN, "messages"}, model)
    messages = given.get("messages")
    if not isinstance(messages, list) or not 1 <= len(messages) <= MOST_TURNS:
        raise _wrong("messages", f"a list of 1 to {MOST_TURNS} messages", messages)
    told = [_message(i, message) for i, message in enumerate(messages)]
    system = told.pop(0)[1] if told[0][0] == "system" else None
    for i, (role, _) in enumerate(told, start=len(messages) - len(told)):
        expected = "user" if (len(messages) - len(told) + i) % 2 == 0 else "assistant"
        if role != expected:
            raise _wrong(
                f"messages[{i}].role",
                f"{expected!r}: after a system message, if any, both speak in turn",
                role,
            )
    if not told or told[-1][0] != "user":
        raise _wrong(
            "messages",
            "a user's message at the end",
            told[-1][0] if told else "a system message alone",
        )
    return Ask(chat=True, turns=tuple(told), system=system, **_common(given))


def text_request(given: Mapping[str, Any], model: str) -> Ask:
    """A body for /v1/completions."""
    _known(given, {*OWN, "prompt"}, model)
    prompt = given.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise _wrong("prompt", "one text", prompt)
    return Ask(chat=False, turns=(("user", prompt),), **_common(given))


def _known(given: Mapping[str, Any], own: set[str], model: str) -> None:
    known = {*own, *NUMBERS, *ONLY, *NO_MATTER}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Refused(
                400, f"{name[:80]}: no such field{hint}", param=name[:80], code="unknown_parameter"
            )
    for name, only in ONLY.items():
        if given.get(name, only) != only:
            raise _wrong(
                name, f"{json.dumps(only)}, or nothing: this server can't do else", given[name]
            )
    if given.get("model") != model:
        message = (
            f"model: found {_shown(given.get('model'))}; this server has {model!r} (GET /v1/models)"
        )
        raise Refused(404, message, param="model", code="model_not_found")


def _message(i: int, message: Any) -> tuple[str, str]:
    where = f"messages[{i}]"
    if not isinstance(message, dict):
        raise _wrong(where, "an object with role and content", message)
    role = (
        {"developer": "system"}.get(message.get("role"), message.get("role"))
        if _plain(message)
        else None
    )
    if role not in ("user", "assistant") and not (role == "system" and i == 0):
        expected = "user or assistant (the first may be system)"
        raise _wrong(f"{where}.role", expected, message.get("role"))
    content = message.get("content")
    if isinstance(content, list) and all(
        isinstance(p, dict) and p.get("type") == "text" for p in content
    ):
        parts = [part.get("text") for part in content]
        content = "".join(parts) if all(isinstance(part, str) for part in parts) else None
    if not isinstance(content, str):
        raise _wrong(f"{where}.content", "text", message.get("content"))
    return role, content


def _plain(message: Mapping[str, Any]) -> bool:
    return isinstance(message.get("role"), str)


def _common(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that both kinds of request have, as `Ask` names them."""
    number = {name: _number(name, given[name]) for name in NUMBERS if name in given}
    options = given.get("stream_options", {})
    for name, value in (("stream", given.get("stream", False)), ("stream_options", options)):
        if not isinstance(value, dict if name == "stream_options" else bool):
            raise _wrong(name, "an object" if name == "stream_options" else "true or false", value)
    return {
        "stream": given.get("stream", False),
        "usage": options.get("include_usage") is True,
        "most_tokens": number.get("max_completion_tokens", number.get("max_tokens")),
        "seed": number.get("seed"),
        "stop": _stops(given.get("stop", [])),
        "sampling": {
            name: number[name] for name in ("temperature", "top_k", "top_p") if name in number
        },
    }


def _number(name: str, value: Any) -> float:
    kind, expected, fits = NUMBERS[name]
    sound = isinstance(value, kind | int) and not isinstance(value, bool)
    if not sound or not fits(value):
        raise _wrong(name, expected, value)
    return value


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given
    sound = isinstance(stops, list) and len(stops) <= MOST_STOPS
    if not sound or not all(
        isinstance(text, str) and 1 <= len(text) <= LONGEST_STOP for text in stops
    ):
        raise _wrong("stop", f"up to {MOST_STOPS} texts of 1 to {LONGEST_STOP} characters", given)
    return tuple(stops)


def _wrong(name: str, expected: str, found: Any) -> Refused:
    return Refused(
        400, f"{name}: found {_shown(found)}; expected {expected}", param=name, code="invalid_value"
    )


def _shown(value: Any) -> str:
    """A value in a message: short, and on one line."""
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "…"
