"""How an item is put to a model, as ids: the same text and the same cuts as lm-evaluation-harness
makes by default.

As text: the end-of-text id, solved items if there are any, the question; a space, and the choice or
the answer. Spaces at the end of a question go to what follows it, because a token seldom ends in
one. As a conversation: solved items are its earlier turns. The harness puts the end-of-text id in
front when it is told add_bos_token=True.
"""

from collections.abc import Sequence

from ..data.conversations import chat_template
from ..tokenizer import Tokenizer
from .items import Item
from .likelihood import Pair

__all__ = ["as_conversation", "as_text", "pairs"]

BEFORE_ANSWER, BETWEEN_ITEMS = " ", "\n\n"


def as_text(item: Item, before: Sequence[Item] = ()) -> str:
    """The question after solved items."""
    told = "".join(
        f"{one.question}{BEFORE_ANSWER}{one.choices[one.gold]}{BETWEEN_ITEMS}" for one in before
    )
    return told + item.question


def pairs(item: Item, before: Sequence[Item], tokenizer: Tokenizer) -> list[Pair]:
    """What comes before and what is scored, for each choice."""
    return [
        _pair(as_text(item, before), BEFORE_ANSWER + choice, tokenizer) for choice in item.choices
    ]


def as_conversation(item: Item, before: Sequence[Item], tokenizer: Tokenizer) -> list[int]:
    """The ids that an answer follows."""
    turns = []
    for one in before:
        turns += [
            {"role": "user", "content": one.question},
            {"role": "assistant", "content": one.choices[one.gold]},
        ]
    return chat_template.prompt([*turns, {"role": "user", "content": item.question}], tokenizer)


def _pair(question: str, answer: str, tokenizer: Tokenizer) -> Pair:
    """What is scored are the ids of the whole behind as many as the question has by itself, as the
    harness does it.

    Where a token spans the border the two overlap by a character; the other way to cut would give
    other scores.
    """
    kept = tokenizer.encode_ordinary(question.rstrip())
    whole = tokenizer.encode_ordinary(question + answer)
    return [tokenizer.eot, *kept], whole[len(kept) :] or whole[-1:]
