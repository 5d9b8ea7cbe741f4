"""A turn of a conversation, in the keys of OpenAI, ShareGPT or Gemini, as a message."""

from collections.abc import Mapping
from typing import Any

from .chat_template import Message
from .field_names import WITHIN, plain
from .fields import Rejected, check_turn, is_learned

__all__ = ["PLAIN", "ROLE_NAMES", "keys_read", "message", "text_of", "turn_of"]

ROLE_NAMES = {
    "system": "system",
    "developer": "system",  # OpenAI's later name for it
    "user": "user",
    "human": "user",
    "prompter": "user",  # Open Assistant
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
TOOL_ROLES = {
    *("tool", "tools", "toolcall", "toolresponse", "toolresult", "function", "functioncall"),
    *("functionresponse", "functionresult", "observation", "ipython"),
}
TEXT = (str, bytes, list, tuple)
PLAIN = ({"role", "content"}, {"from", "value"})  # the keys of most turns
CONTENT_KEYS = ("content", "value", "parts", "text")  # Gemini's turns have parts
SECOND = {"from", "value", "parts", "text"}  # may be there beside a role and a content


def text_of(value: Any) -> str:
    """A content as text: a string, UTF-8 bytes, or a list of parts of which each is text."""
    if isinstance(value, str) and value.isascii():
        return value
    if value is None:
        raise Rejected("null field")
    if isinstance(value, list | tuple):
        try:
            return "".join(map(_part, value))
        except RecursionError:  # parts within parts: JSON may nest as deep as Python's stack
            raise Rejected("nested too deeply") from None

    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise Rejected("not UTF-8") from None

    if not isinstance(value, str):
        raise Rejected("content is no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Rejected("lone surrogate") from None
    return value


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or "text" not in part:
        raise Rejected("content is no text")
    if part.get("type") not in ("text", None):
        raise Rejected("content is no text")
    check_turn(part)
    if not is_learned(part):
        raise Rejected(WITHIN)
    return text_of(part["text"])


def turn_of(turn: Any) -> Message:
    """One turn, {role, content} or {from, value}."""
    if turn is None:
        raise Rejected("null field")
    if not isinstance(turn, Mapping):
        raise Rejected("turns are no objects")
    if turn.keys() in PLAIN:
        content = turn["content" if "content" in turn else "value"]
        return {"role": _role(turn), "content": text_of(content)}

    check_turn(turn)
    role = _role(turn)
    return message(turn, role, _content(turn))


def message(turn: Mapping[str, Any], role: str, content: Any) -> Message:
    """A turn's message, marked where the turn says that it isn't to be learned."""
    made: Message = {"role": role, "content": text_of(content)}
    if role == "assistant" and not is_learned(turn):
        made["learned"] = False
    return made


def _role(turn: Mapping[str, Any]) -> str:
    name = turn.get("role")
    if name is None:
        name = turn.get("from")
    if name is None:
        there = "role" in turn or "from" in turn
        raise Rejected("null field" if there else "a turn without role")

    role = ROLE_NAMES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        is_tool = isinstance(name, str) and plain(name) in TOOL_ROLES
        raise Rejected("tool calls" if is_tool else "unknown role")
    return role


def _content(turn: Mapping[str, Any]) -> Any:
    """What a turn says; `Rejected` where it says two things."""
    if SECOND.isdisjoint(turn):
        return turn.get("content")
    given = [turn[key] for key in CONTENT_KEYS if turn.get(key) is not None]
    if len(given) < 2:
        return given[0] if given else None

    texts = [text_of(given[0]), *(text_of(value) for value in given[1:] if isinstance(value, TEXT))]
    said = {text for text in texts if text.strip()}
    if len(said) > 1:
        raise Rejected("two contents")
    return said.pop() if said else texts[0]


def keys_read(turn: Mapping[str, Any]) -> set[str]:
    """The keys of a turn that `turn_of` reads."""
    if SECOND.isdisjoint(turn):
        return PLAIN[0]
    keys = {key for key in CONTENT_KEYS if isinstance(turn.get(key), TEXT)} | {"role"}
    names = [ROLE_NAMES.get(str(turn.get(key)).strip().lower()) for key in ("role", "from")]
    return keys | {"from"} if names[0] in (None, names[1]) else keys
