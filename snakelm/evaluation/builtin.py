"""The two tasks that need no file: made of the run's own held-out text and held-out conversations.

`continuation`: the beginning of a held-out document, and four passages of the same length from the
same place in four documents, of which one goes on. Guessing gets a quarter. `answers`: the first
question of each held-out conversation, and the answer that it got there. No question of theirs was
trained on (snakelm.data.prepare_sft splits by it).
"""

from dataclasses import dataclass

import numpy as np

from ..data.bins import TokenBin
from ..data.conversations.chat_template import chat_tokens
from ..data.packs import Packs
from ..data.split import mixed
from ..tokenizer import Tokenizer
from ..tokenizer.special import ASSISTANT, END, USER
from .items import Item
from .likelihood import Pair

__all__ = ["Asked", "Passages", "answers", "continuation"]

CHOICES = 4


@dataclass(frozen=True)
class Passages:
    """A choice item in ids: `continuation` scores token files as they are."""

    item: Item
    pairs: list[Pair]


@dataclass(frozen=True)
class Asked:
    """A greedy item, and its conversation in ids up to where the answer begins."""

    item: Item
    prompt: list[int]


def continuation(val: TokenBin, tokenizer: Tokenizer, context: int, seed: int) -> list[Passages]:
    """An item for each document that is long enough; none when fewer than four are."""
    before, after = context // 2, max(1, context // 8)
    long = np.flatnonzero(np.diff(val.document_offsets) - 1 >= before + after)
    if long.size < CHOICES:
        return []
    chance = mixed(val.document_ids[long], seed, "continuation")
    order = long[np.argsort(chance, kind="stable")].tolist()
    passages = [val.document(i)[1 + before : 1 + before + after].tolist() for i in order]
    found = []
    for place, document in enumerate(order):
        begin = val.document(document)[: 1 + before].tolist()
        others = [passages[(place + other) % len(order)] for other in range(1, CHOICES)]
        gold = place % CHOICES
        choices = [*others[:gold], passages[place], *others[gold:]]
        texts = tuple(tokenizer.decode(choice) for choice in choices)
        item = Item(tokenizer.decode(begin[1:]), texts, gold)
        found.append(Passages(item, [(begin, choice) for choice in choices]))
    return found


def answers(packs: Packs, tokenizer: Tokenizer) -> list[Asked]:
    """An item for each conversation in which the assistant answers."""
    special, found = chat_tokens(tokenizer), []
    for number in range(packs.meta.documents):
        ids = packs.bin.document(number).tolist()
        if special[ASSISTANT] not in ids:
            continue
        at = ids.index(special[ASSISTANT])
        user = max(i for i in range(at) if ids[i] == special[USER])
        question = tokenizer.decode(ids[user + 1 : at - 1])
        answer = tokenizer.decode(ids[at + 1 : ids.index(special[END], at)])
        if answer.strip():
            found.append(Asked(Item(question, (answer,), 0), ids[: at + 1]))
    return found
