"""Packed preferences as a stream of rows, and the log-probability that a model gives to each
answer.

A step takes `batch_rows` units of the file, a unit being a pack or the two packs of a long pair, in
an order drawn from (seed, epoch) as in tuning; its loss is the mean over the pairs, or the answers,
in them. Which of them share a row, a micro-batch or a process makes no difference.

For KTO a step also needs to know how likely the model finds answers to other prompts. Each answer's
prompt has a partner for that: the next conversation of the file with another prompt whose answer
fits behind it. They are read without gradients before the step, all of them by each process, so
that what is estimated is the same everywhere.

Legend: R rows, T positions, A answers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from ..data.packs import IGNORED, best_fit
from ..data.preference_packs import PreferencePacks
from .batches import Rows
from .launch import return_freed_memory
from .packed_batches import PackStream
from .preference_losses import Loss

__all__ = [
    "TRIM_EVERY",
    "OtherPrompts",
    "PreferenceBatches",
    "PreferenceRows",
    "Scores",
    "answer_log_probs",
    "unit_rows",
]

TRIM_EVERY = 8  # steps, or rounds of scores, whose blocks are of other sizes each time
TRIES = 16  # conversations that are looked at for a partner
Forward = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Scores:
    """What the model that training starts from gives, log-probabilities in nats, float32: of each
    conversation's answer, and of the answer of its partner behind its prompt (0 without one).
    """

    answers: np.ndarray
    others: np.ndarray


@dataclass(frozen=True)
class AnswerRows:
    """Rows whose answers, in order, have ``counts`` tokens each (int64 [A])."""

    rows: Rows
    counts: np.ndarray


def answer_log_probs(forward: Forward, given: AnswerRows, device: torch.device) -> torch.Tensor:
    """Log-probability of each answer, at least float32 [A]."""
    log_probs = forward(*given.rows.to(device), by_token=True)
    # Not index_add, whose order of summation on a GPU is one of chance.
    return torch.stack([part.sum() for part in log_probs.split(given.counts.tolist())])


def unit_rows(data: PreferencePacks, units: np.ndarray) -> tuple[AnswerRows, np.ndarray]:
    """The rows of ``units`` (int [n]), and the numbers of their conversations in order."""
    packs = _ranges(data.unit_packs, units)
    conversations = _ranges(data.packs.pack_offsets, packs)
    counts = data.answer_lengths[conversations]
    return AnswerRows(Rows(*data.packs.rows(packs)), counts), conversations


class OtherPrompts:
    """The answers of a file behind prompts that they weren't given to."""

    def __init__(self, data: PreferencePacks) -> None:
        self.data = data
        self.offsets = data.packs.document_offsets
        self.prompts = np.diff(self.offsets) - data.answer_lengths
        self.partners = np.array([self._partner(i) for i in range(data.wanted.size)], np.int64)

    def rows(self, conversations: np.ndarray) -> tuple[AnswerRows, np.ndarray]:
        """Rows of the prompts of those ``conversations`` that have a partner, with its answer; and
        which ones they are, in the rows' order.
        """
        data, context = self.data, self.data.packs.context
        some = conversations[self.partners[conversations] >= 0]
        answers = data.answer_lengths[self.partners[some]]
        order, bounds = best_fit(self.prompts[some] + answers, context)
        some, answers = some[order], answers[order]

        shape = (bounds.size - 1, context)
        tokens = np.full(shape, data.packs.meta.eot, np.int64)
        targets = np.full(shape, IGNORED, np.int64)
        row_start = np.tile(np.arange(context, dtype=np.int32), (shape[0], 1))
        for row, (first, last) in enumerate(pairwise(bounds)):
            at = 0
            for number in some[first:last].tolist():
                ids, prompt = self._tokens(number), int(self.prompts[number])
                tokens[row, at : at + ids.size] = ids
                targets[row, at + prompt - 1 : at + ids.size - 1] = ids[prompt:]
                row_start[row, at : at + ids.size] = at
                at += ids.size
        return AnswerRows(Rows(tokens, targets, row_start), answers), some

    def _tokens(self, number: int) -> np.ndarray:
        """The prompt of a conversation and the answer of its partner."""
        tokens, partner = self.data.packs.tokens, self.partners[number]
        answer = tokens[self.offsets[partner] + self.prompts[partner] : self.offsets[partner + 1]]
        return np.concatenate([self._prompt(number), answer])

    def _prompt(self, number: int) -> np.ndarray:
        first = self.offsets[number]
        return self.data.packs.tokens[first : first + self.prompts[number]]

    def _partner(self, number: int) -> int:
        """-1 where none is found."""
        count, room = self.data.wanted.size, self.data.packs.context - self.prompts[number]
        for other in range(number + 1, number + 1 + min(TRIES, count - 1)):
            other %= count
            if self.data.answer_lengths[other] > room:
                continue
            if not np.array_equal(self._prompt(number), self._prompt(other)):
                return other
        return -1


@dataclass(frozen=True, kw_only=True)
class PreferenceRows(Rows):
    """Rows of some units; what counts is units, of which none is cut."""

    bounds: np.ndarray  # the first row of each unit, and their number: int64 [units + 1]
    answers: np.ndarray  # the first answer of each unit, and their number: int64 [units + 1]
    counts: np.ndarray  # tokens of each answer: int64 [A]
    wanted: np.ndarray  # bool [A]
    reference: np.ndarray  # log-probabilities, float32 [A]
    loss: Loss
    others: AnswerRows | None  # of the whole step, where the loss asks for them
    other_reference: np.ndarray  # likewise, float32

    def __len__(self) -> int:
        return self.bounds.size - 1

    def losses(self, forward: Forward, device: torch.device) -> Callable[[int, int], torch.Tensor]:
        """A function (first, last) that gives the loss summed over units first … last - 1."""
        drift = torch.zeros((), device=device)
        if self.others is not None:
            with torch.no_grad():
                found = answer_log_probs(forward, self.others, device)
                drift = (found - torch.from_numpy(self.other_reference).to(device)).mean()

        def loss(first: int, last: int) -> torch.Tensor:
            last = min(last, len(self))
            rows = Rows.part(self, int(self.bounds[first]), int(self.bounds[last]))
            own = slice(self.answers[first], self.answers[last])
            found = answer_log_probs(forward, AnswerRows(rows, self.counts[own]), device)
            reference = torch.from_numpy(self.reference[own]).to(device)
            wanted = torch.from_numpy(self.wanted[own]).to(device)
            return self.loss.losses(found - reference, wanted, drift).sum()

        return loss


class PreferenceBatches(PackStream):
    """The training stream of one file of preferences. ``reference``: to be set before the first
    step.
    """

    reference: Scores

    def __init__(
        self, data: PreferencePacks, loss: Loss, batch_rows: int, epochs: float, seed: int
    ) -> None:
        self.data, self.loss = data, loss
        self.others = None if data.paired else OtherPrompts(data)
        conversations = data.unit_conversations
        tokens = np.diff(data.packs.document_offsets[conversations])
        super().__init__(tokens, np.diff(conversations) // data.each, batch_rows, epochs, seed)

    def rows(self, step: int, rank: int = 0, world: int = 1) -> PreferenceRows:
        """The units of ``step`` (from 0) that fall to ``rank`` of ``world`` processes; may be
        none.
        """
        chosen = self.chosen(step)
        units = chosen[rank * len(chosen) // world : (rank + 1) * len(chosen) // world]
        if step % TRIM_EVERY == 0:
            return_freed_memory()
        given, conversations = unit_rows(self.data, units)
        others, of = None, np.zeros(0, np.int64)
        if self.others:
            others, of = self.others.rows(_ranges(self.data.unit_conversations, chosen))

        return PreferenceRows(
            given.rows.tokens,
            given.rows.targets,
            given.rows.row_start,
            bounds=_sums(np.diff(self.data.unit_packs)[units]),
            answers=_sums(np.diff(self.data.unit_conversations)[units]),
            counts=given.counts,
            wanted=self.data.wanted[conversations],
            reference=self.reference.answers[conversations],
            loss=self.loss,
            others=others if of.size else None,
            other_reference=self.reference.others[of],
        )


def _ranges(bounds: np.ndarray, which: np.ndarray) -> np.ndarray:
    """All numbers of the ranges ``which``, where range i is bounds[i] … bounds[i + 1] - 1."""
    parts = [np.arange(bounds[i], bounds[i + 1]) for i in which.tolist()]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _sums(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)])
