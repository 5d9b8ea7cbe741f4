"""A task put to a model: what is right of what it was asked, with 95% intervals, and each item by
itself.

choice    acc: the likeliest of the choices is the right one; acc_norm: the likeliest for each of its characters, so
          that a long choice isn't at a disadvantage
greedy    exact: what the model says at temperature 0 is the answer, white space around it aside; loose: the same with
          case, punctuation and runs of white space aside
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import UserError
from ..log import Log
from ..model import Decoder
from ..tokenizer import Tokenizer
from .builtin import Asked, Passages
from .intervals import share
from .items import Item
from .likelihood import Pair, greedy, loglikelihoods
from .prompts import as_conversation, as_text, pairs

__all__ = ["Question", "ask", "questions"]

MOST_SAID = 64  # ids of an answer, at most a quarter of what the model looks back over
NO_WORD = re.compile(r"[^\w\s]", re.UNICODE)


@dataclass(frozen=True)
class Question:
    """An item with the solved ones before it, or a built-in one that is in ids already."""

    item: Item
    before: Sequence[Item] = field(default=())
    made: Passages | Asked | None = None


def questions(
    found: Sequence[Item | Passages | Asked], before: Sequence[Sequence[Item]] | None = None
) -> list[Question]:
    """Items of any kind as questions; ``before``: the solved ones of each."""
    made = [
        Question(
            one if isinstance(one, Item) else one.item, (), None if isinstance(one, Item) else one
        )
        for one in found
    ]
    return (
        made
        if before is None
        else [Question(q.item, b, q.made) for q, b in zip(made, before, strict=True)]
    )


def ask(
    model: Decoder,
    tokenizer: Tokenizer,
    asked: Sequence[Question],
    kind: str,
    chat: bool,
    log: Log,
    name: str,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The task's row in the table, and a record of each item. ``chat``: greedy items are put as
    conversations.
    """
    with log.progress(len(asked), "items") as bar:
        how = _choices if kind == "choice" else _answers
        records = how(model, tokenizer, asked, chat, lambda done: bar.update(done, name))
    names = ("acc", "acc_norm") if kind == "choice" else ("exact", "loose")
    table = {key: share(sum(r[key] for r in records), len(records)).as_dict() for key in names}
    return table, records


def _choices(
    model: Decoder, tokenizer: Tokenizer, asked: Sequence[Question], chat: bool, on_progress
) -> list[dict]:
    of = [q.made.pairs if q.made else pairs(q.item, q.before, tokenizer) for q in asked]
    flat: list[Pair] = [pair for some in of for pair in some]
    longest = max(len(scored) for _, scored in flat)
    if longest > model.shape.context:
        raise UserError(
            f"tasks: a choice has {longest} tokens, the model looks back over {model.shape.context}; leave it out"
        )
    each = np.repeat(np.arange(len(asked)), [len(some) for some in of])
    sums, _ = loglikelihoods(
        model, flat, lambda done: on_progress(int(len(asked) * done / len(flat)))
    )
    records = []
    for number, question in enumerate(asked):
        values, item = sums[each == number], question.item
        sizes = np.array([max(1, len(choice)) for choice in item.choices])
        best, best_norm = int(values.argmax()), int((values / sizes).argmax())
        records.append(
            {
                "question": item.question,
                "choices": list(item.choices),
                "gold": item.gold,
                "loglikelihood": [round(v, 6) for v in values.tolist()],
                "said": best,
                "acc": best == item.gold,
                "acc_norm": best_norm == item.gold,
                "cut": any(len(a) + len(b) > model.shape.context + 1 for a, b in of[number]),
            }
        )
    return records


def _answers(
    model: Decoder, tokenizer: Tokenizer, asked: Sequence[Question], chat: bool, on_progress
) -> list[dict]:
    prompts = [_prompt(question, tokenizer, chat) for question in asked]
    most = min(MOST_SAID, model.shape.context // 4)
    stop = set(tokenizer.special_tokens.values())
    # A base model knows no end of an answer but the end of its line.
    line_ends = (
        (lambda said: False) if chat else (lambda said: b"\n" in tokenizer.decode_bytes(said))
    )
    given = greedy(model, prompts, most, stop, line_ends, on_progress)
    records = []
    for question, prompt, ids in zip(asked, prompts, given, strict=True):
        said = tokenizer.decode(ids)
        said = said if chat else said.split("\n")[0]
        right = question.item.choices
        records.append(
            {
                "question": question.item.question,
                "answers": list(right),
                "said": said,
                "exact": any(said.strip() == text.strip() for text in right),
                "loose": any(_loose(said) == _loose(text) for text in right),
                "cut": len(prompt) + most > model.shape.context,
            }
        )
    return records


def _prompt(question: Question, tokenizer: Tokenizer, chat: bool) -> list[int]:
    if chat:
        return (
            question.made.prompt
            if question.made
            else as_conversation(question.item, question.before, tokenizer)
        )
    return [tokenizer.eot, *tokenizer.encode_ordinary(as_text(question.item, question.before))]


def _loose(text: str) -> str:
    return " ".join(NO_WORD.sub(" ", text).casefold().split())
