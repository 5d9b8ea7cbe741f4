"""The formats of instruction data, each as a function from a row to messages.

A row's format is recognised by its own columns, so a file may mix formats: of those whose columns
it has, the first with a value in each of them. Text is kept as it is, white space included. What
can't be a conversation is `Rejected` with its reason: nothing is repaired silently, because a
merged turn or an invented role would be taught as if somebody had written it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = [
    "COLUMNS",
    "EVERY",
    "FORMATS",
    "ROLE_NAMES",
    "ConversationFormat",
    "Messages",
    "Rejected",
    "Row",
    "checked",
    "messages_of",
    "text_of",
]

Row = Mapping[str, Any]
Messages = list[dict[str, str]]  # {"role": …, "content": …} each

TURNS = ("messages", "conversations", "conversation")  # a list of turns has one of these names
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
TOOL_ROLES = {"tool", "function", "function_call", "function_response", "observation", "ipython"}
TOOL_KEYS = ("tool_calls", "function_call")


class Rejected(Exception):
    """A row that is not a conversation; the message is the reason it is counted under."""


@dataclass(frozen=True)
class ConversationFormat:
    """``needs``: columns it can't do without; ``may``: those it reads where they are."""

    needs: tuple[str, ...]
    read: Callable[[Row], Messages]
    may: tuple[str, ...] = ()


def messages_of(row: Row, format: str = "auto") -> Messages:
    """The sound messages of a row, in ``format`` or in the one that its columns tell; else
    `Rejected`.
    """
    kinds = EVERY if format == "auto" else FORMATS[format]
    there = [kind for kind in kinds if all(column in row for column in kind.needs)]
    if not there:
        raise Rejected("no known format" if format == "auto" else f"not of the format {format}")

    filled = [kind for kind in there if all(row[column] is not None for column in kind.needs)]
    if not filled:
        raise Rejected("null field")
    return checked(filled[0].read(row))


def checked(messages: Messages) -> Messages:
    """The messages of a conversation that can be learned from: [system,] user, assistant, user,
    assistant …

    An empty system turn says nothing and is dropped; so is a last user turn that nobody answered.
    """
    if messages and messages[0]["role"] == "system" and not messages[0]["content"].strip():
        messages = messages[1:]
    if not messages:
        raise Rejected("no turns")
    if any(not message["content"].strip() for message in messages):
        raise Rejected("empty turn")

    roles = [message["role"] for message in messages]
    if "system" in roles[1:]:
        raise Rejected("system not first")
    if "assistant" not in roles:
        raise Rejected("no assistant turn")

    turns = roles[1:] if roles[0] == "system" else roles
    if turns[0] == "assistant":
        raise Rejected("begins with the assistant")
    if any(a == b for a, b in pairwise(turns)):
        raise Rejected("two turns of one role")
    return messages[:-1] if turns[-1] == "user" else messages


def text_of(value: Any) -> str:
    """A content as text: a string, UTF-8 bytes, or a list of parts of which each is text."""
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
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Rejected("lone surrogate") from None
    return value


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or part.get("type", "text") != "text" or "text" not in part:
        raise Rejected("content is no text")
    return text_of(part["text"])


def _turn(turn: Any) -> dict[str, str]:
    """One turn, {role, content} or {from, value}."""
    if turn is None:
        raise Rejected("null field")
    if not isinstance(turn, Mapping):
        raise Rejected("turns are no objects")

    role_key, content_key = ("role", "content") if "role" in turn else ("from", "value")
    name = turn.get(role_key)
    if any(turn.get(key) for key in TOOL_KEYS) or name in TOOL_ROLES:
        raise Rejected("tool calls")
    if name is None:
        raise Rejected("null field" if role_key in turn else "a turn without role")

    role = ROLE_NAMES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise Rejected("unknown role")
    return {"role": role, "content": text_of(turn.get(content_key))}


def _turns(row: Row) -> Messages:
    """The first list of turns that has a value; a column `system` beside it goes in front."""
    turns = next(row[name] for name in TURNS if row.get(name) is not None)
    if not isinstance(turns, list | tuple):
        raise Rejected("turns are no list")
    return _system(row, "system") + list(map(_turn, turns))


def _system(row: Row, column: str) -> Messages:
    """A column's system prompt; none where it is null or blank."""
    text = text_of(row[column]) if row.get(column) is not None else ""
    return [{"role": "system", "content": text}] if text.strip() else []


def _pair(
    question: str, answer: str, context: str = "", system: str = ""
) -> Callable[[Row], Messages]:
    """A reader of a question, perhaps with a context in a paragraph below it, and its answer."""

    def read(row: Row) -> Messages:
        below = text_of(row[context]) if row.get(context) is not None else ""
        user = "\n\n".join(text for text in (text_of(row[question]), below) if text.strip())
        assistant = text_of(row[answer])
        return [
            *_system(row, system),
            {"role": "user", "content": user},
            {"role": "assistant", "content": assistant},
        ]

    return read


def _prompt(row: Row) -> Messages:
    """TRL's pair: strings, or lists of messages that belong together."""
    messages: Messages = []
    for column, role in (("prompt", "user"), ("completion", "assistant")):
        value = row[column]
        if isinstance(value, list | tuple):
            messages += map(_turn, value)
        else:
            messages.append({"role": role, "content": text_of(value)})
    return messages


# Turns tell by their own keys whose they are, so OpenAI's and ShareGPT's lists are read alike under
# any of the names.
TURN_LISTS = tuple(ConversationFormat((name,), _turns, ("system",)) for name in TURNS)
FORMATS: dict[str, tuple[ConversationFormat, ...]] = {
    "messages": TURN_LISTS,
    "sharegpt": TURN_LISTS,
    "alpaca": (
        ConversationFormat(
            ("instruction", "output"),
            _pair("instruction", "output", "input", "system"),
            ("input", "system"),
        ),
    ),
    "dolly": (
        ConversationFormat(
            ("instruction", "response"), _pair("instruction", "response", "context"), ("context",)
        ),
    ),
    "orca": (
        ConversationFormat(
            ("question", "response"),
            _pair("question", "response", system="system_prompt"),
            ("system_prompt",),
        ),
    ),
    "qa": (ConversationFormat(("question", "answer"), _pair("question", "answer")),),
    "prompt": (ConversationFormat(("prompt", "completion"), _prompt),),
}
EVERY = tuple(dict.fromkeys(kind for kinds in FORMATS.values() for kind in kinds))
COLUMNS = sorted({column for kind in EVERY for column in (*kind.needs, *kind.may)})
