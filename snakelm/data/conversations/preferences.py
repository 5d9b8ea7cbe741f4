"""The shapes of preference data, each as a function from a row to conversations that differ in
their last answer.

    prompt, chosen, rejected       texts; or lists of messages, of the prompt and of each side
    chosen, rejected               lists of messages that both begin with the prompt
    prompt, completion, label      one answer, and whether it is a good one (KTO)

Names of columns are TRL's; a source's `columns` says which other names stand for them. A side may
be one message (LLaMA-Factory), and a list of both sides' messages may stand beside a prompt that
says their beginning again (UltraFeedback). As with conversations, what can't be learned from is
`Rejected` with its reason, and nothing is repaired.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .chat_template import Message
from .fields import Rejected, check_row, is_empty
from .formats import Messages, Row, begun, checked
from .turns import text_of, turn_of

__all__ = ["COLUMNS", "LABELLED", "PAIRS", "Example", "example_of"]

COLUMNS = ("prompt", "chosen", "rejected", "completion", "label")
PAIRS, LABELLED = ("chosen", "rejected"), ("completion", "label")
YES, NO = {"true", "1", "1.0"}, {"false", "0", "0.0"}

OTHER_PROMPT = "prompt differs between sides"


class Example(NamedTuple):
    """What a row says: conversations of one prompt, each with whether its answer is wanted; of a
    pair the chosen one comes first.
    """

    conversations: list[Messages]
    wanted: list[bool]


def example_of(row: Row) -> Example:
    """The sound example of a row; else `Rejected`."""
    if all(name in row for name in PAIRS):
        check_row({name: value for name, value in row.items() if name not in PAIRS})
        return Example([_whole(row, *side) for side in _sides(row)], [True, False])
    if all(name in row for name in LABELLED):
        check_row({name: value for name, value in row.items() if name != "label"})
        prompt, answer = _prompt(row), _side(row["completion"])
        if len(answer) != 1 or answer[0]["role"] != "assistant":
            raise Rejected("a completion that isn't one answer")
        return Example([_whole(row, prompt, answer)], [_label(row["label"])])
    raise Rejected("no known format")


def _sides(row: Row) -> list[tuple[Messages, Messages]]:
    """Prompt and answer of the chosen side and of the rejected one."""
    prompt, (chosen, rejected) = _prompt(row), (_side(row[name]) for name in PAIRS)
    if chosen == rejected:
        raise Rejected("equal sides")

    # Sides that begin with the prompt: it is what they have in common.
    if {side[0]["role"] for side in (chosen, rejected)} != {"assistant"}:
        pairs = enumerate(zip(chosen, rejected, strict=False))
        common = next((i for i, (one, other) in pairs if one != other), None)
        if common is None:
            raise Rejected("a side without an answer")
        own, chosen, rejected = chosen[:common], chosen[common:], rejected[common:]
        if prompt and prompt not in (own, own[1:]):  # own may begin with a system prompt
            raise Rejected(OTHER_PROMPT)
        prompt = own

    for side in (chosen, rejected):
        if [message["role"] for message in side] != ["assistant"]:
            raise Rejected(OTHER_PROMPT)
    if chosen[0]["content"].strip() == rejected[0]["content"].strip():
        raise Rejected("equal sides")
    return [(prompt, chosen), (prompt, rejected)]


def _whole(row: Row, prompt: Messages, answer: Messages) -> Messages:
    """The conversation, of which the last answer alone is to be learned."""
    if not prompt:
        raise Rejected("no prompt")
    messages = checked(begun(row, [*prompt, *answer]))
    for message in messages[:-1]:
        if message["role"] == "assistant":
            message["learned"] = False
    return messages


def _prompt(row: Row) -> Messages:
    value = row.get("prompt")
    if is_empty(value):
        return []
    if isinstance(value, list | tuple):
        return list(map(turn_of, value))
    return [{"role": "user", "content": text_of(value)}]


def _side(value: Any) -> Messages:
    """The messages of a side; a text is an answer."""
    if isinstance(value, list | tuple):
        side = list(map(turn_of, value))
    elif isinstance(value, Mapping):
        side = [turn_of(value)]
    else:
        text: Message = {"role": "assistant", "content": text_of(value)}
        side = [text]
    if not side or not side[-1]["content"].strip():
        raise Rejected("an empty side")
    return side


def _label(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in YES | NO:
        raise Rejected("a label that is neither true nor false")
    return text in YES
