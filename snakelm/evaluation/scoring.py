"""Answers to a task's questions, and what share of them is right, with 95% intervals.

choice    acc: the likeliest of the choices is the right one; acc_norm: the likeliest for each of
          its characters, so that a long choice isn't at a disadvantage; a choice with the text of
          the right one is right
greedy    exact: what the model says at temperature 0 is the answer, white space around it aside;
          loose: the same with case, punctuation and runs of white space aside; a longer answer
          than a model may give, or of a base model one of several lines, is out of reach, which is
          counted
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from ..errors import UserError
from ..log import Log
from ..model import Decoder
from ..tokenizer import Tokenizer
from .intervals import Interval, rounded, share
from .likelihood import Pair, greedy, loglikelihoods
from .questions import Question
from .records import ChoiceAnswer, GreedyAnswer

__all__ = ["score"]

LONGEST_ANSWER = 64  # ids, and at most a quarter of what the model looks back over
PUNCTUATION = re.compile(r"[^\w\s]", re.UNICODE)

OnProgress = Callable[[int], None]


def score(
    model: Decoder,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    kind: str,
    chat: bool,
    log: Log,
    name: str,
) -> tuple[dict[str, Interval], list[ChoiceAnswer] | list[GreedyAnswer]]:
    """The scores by name, and the answer to each question. ``chat``: greedy items are put as
    conversations. ``name`` is shown beside the progress.
    """
    with log.progress(len(questions), "items") as bar:

        def on_progress(done: int) -> None:
            bar.update(done, name)

        if kind == "choice":
            chosen = _choose(model, tokenizer, questions, on_progress)
            right = {
                "acc": [answer.acc for answer in chosen],
                "acc_norm": [answer.acc_norm for answer in chosen],
            }
            return _shares(right), chosen

        answers = _answer(model, tokenizer, questions, chat, on_progress)
        right = {
            "exact": [answer.exact for answer in answers],
            "loose": [answer.loose for answer in answers],
        }
        return _shares(right), answers


def _shares(right: dict[str, list[bool]]) -> dict[str, Interval]:
    intervals = {name: share(sum(values), len(values)) for name, values in right.items()}
    return {name: rounded(one) for name, one in intervals.items() if one is not None}


def _choose(
    model: Decoder, tokenizer: Tokenizer, questions: Sequence[Question], on_progress: OnProgress
) -> list[ChoiceAnswer]:
    """Which of its choices the model finds likeliest, for each question."""
    context = model.shape.context
    pairs_of = [question.pairs(tokenizer) for question in questions]
    flat: list[Pair] = [pair for pairs in pairs_of for pair in pairs]
    longest = max(len(scored) for _, scored in flat)
    if longest > context:
        raise UserError(
            f"tasks: a choice has {longest} tokens, the model looks back over {context}; leave it "
            "out"
        )

    # All choices of all questions go together, for batches of like lengths.
    sums, _ = loglikelihoods(
        model, flat, lambda done: on_progress(int(len(questions) * done / len(flat)))
    )
    bounds = np.cumsum([len(pairs) for pairs in pairs_of])[:-1]

    answers = []
    for question, pairs, values in zip(questions, pairs_of, np.split(sums, bounds), strict=True):
        item = question.item
        lengths = np.array([max(1, len(choice)) for choice in item.choices])
        best, best_by_length = int(values.argmax()), int((values / lengths).argmax())
        right = item.choices[item.gold]
        answers.append(
            ChoiceAnswer(
                question=item.question,
                choices=list(item.choices),
                gold=item.gold,
                loglikelihood=[round(value, 6) for value in values.tolist()],
                predicted=best,
                acc=item.choices[best] == right,
                acc_norm=item.choices[best_by_length] == right,
                cut=any(len(before) + len(scored) > context + 1 for before, scored in pairs),
            )
        )
    return answers


def _answer(
    model: Decoder,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    chat: bool,
    on_progress: OnProgress,
) -> list[GreedyAnswer]:
    """What the model answers at temperature 0, for each question."""
    prompts = [question.prompt(tokenizer, chat) for question in questions]
    most = min(LONGEST_ANSWER, model.shape.context // 4)
    stop = set(tokenizer.special_tokens.values())

    def ended(ids: list[int]) -> bool:
        # A base model knows no end of an answer but the end of its line.
        return not chat and b"\n" in tokenizer.decode_bytes(ids)

    generated = greedy(model, prompts, most, stop, ended, on_progress)

    answers = []
    for question, prompt, ids in zip(questions, prompts, generated, strict=True):
        text = tokenizer.decode(ids)
        text = text if chat else text.split("\n")[0]
        accepted = question.item.choices
        answers.append(
            GreedyAnswer(
                question=question.item.question,
                answers=list(accepted),
                answer=text,
                exact=any(text.strip() == right.strip() for right in accepted),
                loose=any(_loose(text) == _loose(right) for right in accepted),
                cut=len(prompt) + most > model.shape.context,
                out_of_reach=not any(
                    _can_be_said(right.strip(), tokenizer, most, lines=chat) for right in accepted
                ),
            )
        )
    return answers


def _can_be_said(answer: str, tokenizer: Tokenizer, most: int, lines: bool) -> bool:
    """Whether ``answer`` has at most ``most`` ids, and one line unless it may have more."""
    return (lines or "\n" not in answer) and len(tokenizer.encode_ordinary(answer)) <= most


def _loose(text: str) -> str:
    return " ".join(PUNCTUATION.sub(" ", text).casefold().split())
