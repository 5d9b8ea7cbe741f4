"""A question as a model gets it, in ids: an item of a task as text or as a conversation, and the
two built-in tasks, which are made of the run's own held-out data.

Items of files are put with the same text and the same cuts as lm-evaluation-harness makes by
default. As text: the end-of-text id, solved items if there are any, the question; a space, and the
choice or the answer. Spaces at the end of a question go to what follows it, because a token seldom
ends in one. As a conversation: solved items are its earlier turns. The harness puts the end-of-text
id in front with add_bos_token=True.

`continuation`: the beginning of a held-out document, and four passages of the same length from the
same place in four documents, of which one goes on; guessing gets a quarter. `answers`: the first
question of each held-out conversation whose answer is to be learned, and that answer. No such
question was trained on (snakelm.data.conversations splits by it).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..data.bins import TokenBin
from ..data.conversations import chat_template
from ..data.conversations.chat_template import chat_tokens
from ..data.packs import Packs
from ..data.split import mixed
from ..tokenizer import Tokenizer
from ..tokenizer.special import END, USER
from .items import Item, chosen_items, shot_order, solved_items
from .likelihood import Pair

__all__ = [
    "CONTINUATIONS",
    "Question",
    "answers",
    "as_conversation",
    "as_text",
    "chosen_questions",
    "continuation",
    "pairs",
]

BEFORE_ANSWER, BETWEEN_ITEMS = " ", "\n\n"
CONTINUATIONS = 4  # passages to choose from


@dataclass(frozen=True)
class Question:
    """An item with the solved ones before it. Built-in questions have their ids already, because
    decoding and encoding them again might give others.
    """

    item: Item
    solved: Sequence[Item] = ()
    own_pairs: list[Pair] | None = None
    own_prompt: list[int] | None = None  # as a conversation

    def pairs(self, tokenizer: Tokenizer) -> list[Pair]:
        """What comes before and what is scored, for each choice."""
        return self.own_pairs or pairs(self.item, self.solved, tokenizer)

    def prompt(self, tokenizer: Tokenizer, chat: bool) -> list[int]:
        """The ids that an answer follows, as a conversation or as text."""
        if chat:
            return self.own_prompt or as_conversation(self.item, self.solved, tokenizer)
        return [tokenizer.eot, *tokenizer.encode_ordinary(as_text(self.item, self.solved))]


def chosen_questions(
    questions: Sequence[Question], limit: int | None, shots: int, seed: int
) -> list[Question]:
    """At most ``limit`` of them, by hash, each with ``shots`` solved items of the others."""
    items = [question.item for question in questions]
    order = shot_order(items, seed) if shots else []
    return [
        replace(questions[i], solved=solved_items(items, i, order, shots))
        for i in chosen_items(items, limit, seed)
    ]


def as_text(item: Item, solved: Sequence[Item] = ()) -> str:
    """The question after solved items."""
    shots = (
        f"{one.question}{BEFORE_ANSWER}{one.choices[one.gold]}{BETWEEN_ITEMS}" for one in solved
    )
    return "".join(shots) + item.question


def pairs(item: Item, solved: Sequence[Item], tokenizer: Tokenizer) -> list[Pair]:
    """What comes before and what is scored, for each choice."""
    text = as_text(item, solved)
    return [_pair(text, BEFORE_ANSWER + choice, tokenizer) for choice in item.choices]


def _pair(question: str, answer: str, tokenizer: Tokenizer) -> Pair:
    """What is scored are the ids of question and answer together, behind as many as the question
    has by itself: the harness does it so.

    Where a token spans the border the two overlap by a character; the other way to cut would give
    other scores.
    """
    before = tokenizer.encode_ordinary(question.rstrip())
    together = tokenizer.encode_ordinary(question + answer)
    return [tokenizer.eot, *before], together[len(before) :] or together[-1:]


def as_conversation(item: Item, solved: Sequence[Item], tokenizer: Tokenizer) -> list[int]:
    """The ids that an answer follows."""
    turns: list[chat_template.Message] = []
    for one in solved:
        turns.append({"role": "user", "content": one.question})
        turns.append({"role": "assistant", "content": one.choices[one.gold]})
    return chat_template.prompt([*turns, {"role": "user", "content": item.question}], tokenizer)


def continuation(val: TokenBin, tokenizer: Tokenizer, context: int, seed: int) -> list[Question]:
    """A question for each held-out document that is long enough; none when fewer than four are."""
    before, after = context // 2, max(1, context // 8)
    long = np.flatnonzero(np.diff(val.document_offsets) - 1 >= before + after)
    if long.size < CONTINUATIONS:
        return []

    # In a random order the next three documents are as good as any three drawn.
    hashes = mixed(val.document_ids[long], seed, "continuation")
    order = long[np.argsort(hashes, kind="stable")].tolist()
    passages = [val.document(i)[1 + before : 1 + before + after].tolist() for i in order]

    questions = []
    for place, document in enumerate(order):
        begin = val.document(document)[: 1 + before].tolist()
        choices = [passages[(place + i) % len(order)] for i in range(1, CONTINUATIONS)]
        gold = place % CONTINUATIONS
        choices.insert(gold, passages[place])

        texts = tuple(tokenizer.decode(choice) for choice in choices)
        item = Item(tokenizer.decode(begin[1:]), texts, gold)
        questions.append(Question(item, own_pairs=[(begin, choice) for choice in choices]))
    return questions


def answers(packs: Packs, tokenizer: Tokenizer) -> list[Question]:
    """A question for each held-out conversation: its first answer that is to be learned."""
    special, questions = chat_tokens(tokenizer), []
    for number, (first, last) in enumerate(pairwise(packs.document_offsets.tolist())):
        ids, learned = packs.bin.document(number).tolist(), packs.learned(first, last)
        if not learned.any():
            continue

        at = int(learned.argmax()) - 1  # the assistant's token
        user = max(i for i in range(at) if ids[i] == special[USER])
        question = tokenizer.decode(ids[user + 1 : at - 1])
        answer = tokenizer.decode(ids[at + 1 : ids.index(special[END], at)])
        if answer.strip():
            questions.append(Question(Item(question, (answer,), 0), own_prompt=ids[: at + 1]))
    return questions
