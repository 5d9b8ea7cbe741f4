"""The formats of instruction data, each as a function from a row to messages.

A row's format is recognised by its own columns, so a file may mix formats: of those whose columns
it has, the first with a value in each of them. Text is kept as it is, white space included. What
can't be a conversation is `Rejected` with its reason: nothing is repaired silently, because a
merged turn or an invented role would be taught as if somebody had written it. What else a row says,
beside its words, is in fields.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from .chat_template import Message
from .field_names import Meaning, meant
from .fields import Rejected, check_row, is_empty
from .turns import text_of, turn_of

__all__ = [
    "COLUMNS",
    "EVERY",
    "FORMATS",
    "ConversationFormat",
    "Messages",
    "Rejected",
    "Row",
    "begun",
    "checked",
    "format_of",
    "is_answer",
    "messages_of",
    "read_as",
    "text_of",
]

Row = Mapping[str, Any]
Messages = list[Message]

TURNS = ("messages", "conversations", "conversation")  # a list of turns has one of these names
SIDE = ("input", "context")  # columns that belong to a question, in a paragraph below it


@dataclass(frozen=True)
class ConversationFormat:
    """``needs``: columns it can't do without; ``may``: those it reads where they are."""

    needs: tuple[str, ...]
    read: Callable[[Row], Messages]
    may: tuple[str, ...] = ()

    @cached_property
    def columns(self) -> frozenset[str]:
        """All that it reads."""
        return frozenset((*self.needs, *self.may))


def messages_of(row: Row, format: str = "auto") -> Messages:
    """The sound messages of a row, in ``format`` or in the one that its columns tell; else
    `Rejected`.
    """
    return read_as(format_of(row, format), row)


def read_as(kind: ConversationFormat, row: Row) -> Messages:
    """The sound messages of a row in the format ``kind``; else `Rejected`."""
    check_row(row)
    return checked(begun(row, kind.read(row)))


@lru_cache(1024)
def _formats_with(columns: frozenset[str], format: str) -> list[ConversationFormat]:
    """The formats that these columns suffice for."""
    kinds = EVERY if format == "auto" else FORMATS[format]
    return [kind for kind in kinds if columns.issuperset(kind.needs)]


def format_of(row: Row, format: str = "auto") -> ConversationFormat:
    """The format that a row is in; `Rejected` where it is in none."""
    there = _formats_with(frozenset(row), format)
    if not there:
        raise Rejected("no known format" if format == "auto" else f"not of the format {format}")

    filled = [kind for kind in there if all(row[column] is not None for column in kind.needs)]
    if not filled:
        raise Rejected("null field")
    said = (kind for kind in filled if all(row[column] not in ([], ()) for column in kind.needs))
    return next(said, filled[0])


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
    if not any(map(is_answer, messages)):
        raise Rejected("no answer that is to be learned")
    return messages[:-1] if turns[-1] == "user" else messages


def is_answer(message: Message) -> bool:
    """Whether a message is an answer that is to be learned."""
    return message["role"] == "assistant" and message.get("learned", True)


def _turns(row: Row) -> Messages:
    """The first list of turns that has one."""
    lists = [row[name] for name in TURNS if row.get(name) is not None]
    turns = next((turns for turns in lists if turns not in ([], ())), lists[0])
    if not isinstance(turns, list | tuple):
        raise Rejected("turns are no list")

    messages = list(map(turn_of, turns))
    if messages and messages[-1]["role"] == "user" and columns_of(row, "choice"):
        raise Rejected("answers to choose from")
    return messages


def begun(row: Row, messages: Messages) -> Messages:
    """The messages with what the row's other columns put in front: a system prompt, and a history
    of earlier turns.
    """
    systems = [text_of(value) for value in columns_of(row, "system")]
    if messages and messages[0]["role"] == "system":
        systems.append(messages[0]["content"])
        messages = messages[1:]
    system = {text for text in systems if text.strip()}
    if len(system) > 1:
        raise Rejected("two system prompts")

    histories = columns_of(row, "history")
    if len(histories) > 1 or (histories and any(row.get(name) for name in TURNS)):
        raise Rejected("a history beside the turns")
    history = _history(histories[0]) if histories else []
    begin: Messages = [{"role": "system", "content": text} for text in system]
    return [*begin, *history, *messages]


def columns_of(row: Row, kind: Meaning) -> list[Any]:
    """The values of the columns with this meaning that have one."""
    return [row[name] for name, _ in meant(tuple(row), (kind,)) if not is_empty(row[name])]


def _history(value: Any) -> Messages:
    """Alpaca's earlier turns: pairs of a question and its answer, or turns with roles.

    Their answers are learned as the last one is, as LLaMA-Factory does.
    """
    if not isinstance(value, list | tuple):
        raise Rejected("a history that isn't pairs")

    messages: Messages = []
    for one in value:
        if isinstance(one, Mapping):
            messages.append(turn_of(one))
        elif isinstance(one, list | tuple) and len(one) == 2:
            messages.append({"role": "user", "content": text_of(one[0])})
            messages.append({"role": "assistant", "content": text_of(one[1])})
        else:
            raise Rejected("a history that isn't pairs")
    return messages


def _pair(question: str, answer: str) -> Callable[[Row], Messages]:
    """A reader of a question, perhaps with more in a paragraph below it, and its answer."""

    def read(row: Row) -> Messages:
        below = [_side(row.get(name)) for name in SIDE]
        user = "\n\n".join(text for text in (text_of(row[question]), *below) if text.strip())
        return [
            {"role": "user", "content": user},
            {"role": "assistant", "content": text_of(row[answer])},
        ]

    return read


def _side(value: Any) -> str:
    """What stands below a question; several passages have no order or border that is known here."""
    if isinstance(value, str | bytes):
        return text_of(value)
    if not is_empty(value):
        raise Rejected("content is no text")
    return ""


def _prompt(row: Row) -> Messages:
    """TRL's pair: strings, or lists of messages that belong together. What the assistant says in
    the prompt isn't learned there, so it isn't here.
    """
    messages: Messages = []
    for column, role in (("prompt", "user"), ("completion", "assistant")):
        value = row[column]
        if isinstance(value, list | tuple):
            messages += map(turn_of, value)
        else:
            messages.append({"role": role, "content": text_of(value)})
        if column == "prompt":
            for one in messages:
                if one["role"] == "assistant":
                    one["learned"] = False
    return messages


# Turns tell by their own keys whose they are, so OpenAI's and ShareGPT's lists are read alike under
# any of the names.
TURN_LISTS = tuple(ConversationFormat((name,), _turns) for name in TURNS)
FORMATS: dict[str, tuple[ConversationFormat, ...]] = {
    "messages": TURN_LISTS,
    "sharegpt": TURN_LISTS,
    **{
        name: (ConversationFormat((question, answer), _pair(question, answer), SIDE),)
        for name, question, answer in (
            ("alpaca", "instruction", "output"),
            ("dolly", "instruction", "response"),
            ("orca", "question", "response"),
            ("qa", "question", "answer"),
        )
    },
    "prompt": (ConversationFormat(("prompt", "completion"), _prompt),),
}
EVERY = tuple(dict.fromkeys(kind for kinds in FORMATS.values() for kind in kinds))
COLUMNS = sorted({column for kind in EVERY for column in (*kind.needs, *kind.may)})
