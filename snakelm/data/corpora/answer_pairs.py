"""Preferences made by rule from the built-in questions (questions.py): the right answer against a
wrong one.

Of a sum the wrong answer has another result. Of a question about a function it is a right answer to
another question that begins alike, so that what tells the two apart is the question and not the
form. So a model can be asked what it has learned: whether it finds the right answer likelier where
the question is held out.
"""

import random
import re
from collections.abc import Iterator

from ..conversations.formats import Messages
from ..conversations.preferences import Example
from . import questions

__all__ = ["pairs"]

SUM = re.compile(r"(\d+ \w+ \d+ is )(\d+)(\.)")
FARTHEST = 9  # of a wrong result from the right one


def pairs(seed: int) -> Iterator[Example]:
    """A pair for the first question of each conversation."""
    asked = [_first(messages) for messages in questions.conversations(seed)]
    by_kind: dict[str, list[int]] = {}
    for number, (*_, question, _answer) in enumerate(asked):
        kind = " ".join(question["content"].split()[:2])
        by_kind.setdefault(kind, []).append(number)

    others: dict[int, int] = {}  # number of a conversation → whose answer stands against its own
    for kind, numbers in sorted(by_kind.items()):
        random.Random(f"{seed}:pairs:{kind}").shuffle(numbers)
        others |= dict(zip(numbers, [*numbers[1:], *numbers[:1]], strict=True))

    for number, (*before, right) in enumerate(asked):
        answer = right["content"]
        if sum_ := SUM.fullmatch(answer):
            wrong = _miscounted(sum_, random.Random(f"{seed}:pairs:{number}"))
        else:
            wrong = asked[others[number]][-1]["content"]
        if wrong != answer:
            rejected: Messages = [*before, {"role": "assistant", "content": wrong}]
            yield Example([[*before, right], rejected], [True, False])


def _first(messages: Messages) -> Messages:
    """The conversation up to its first answer."""
    answered = next(i for i, message in enumerate(messages) if message["role"] == "assistant")
    return messages[: answered + 1]


def _miscounted(sum_: re.Match[str], chance: random.Random) -> str:
    """The answer with another result near the right one."""
    right = int(sum_[2])
    near = range(max(0, right - FARTHEST), right + FARTHEST + 1)
    return f"{sum_[1]}{chance.choice([result for result in near if result != right])}{sum_[3]}"
