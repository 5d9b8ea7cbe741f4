"""answers.html: held-out questions before and after tuning; sft_samples.html: in between;
conversations.html: the data.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...config import SftSource
from ...training.metrics import Sample
from ..licences import conversations_licence
from ..manifests import PackedPart, PacksManifest
from ..pages import write_page
from ..tuning_record import Answers, Span, TuningRecord, answers, turns

__all__ = ["shown_answers", "write_answers", "write_conversations", "write_tuning_samples"]

LONGEST = 2000  # characters of a text that are shown


@dataclass(frozen=True)
class ShownTurn:
    """What the system, the user or the assistant says; "" where the speaker is unknown."""

    speaker: str
    text: str


@dataclass(frozen=True)
class ShownQuestion:
    """A held-out question, and answers to it by what they are: wanted, before, after."""

    turns: list[ShownTurn]
    answers: list[tuple[str, str]]


def write_answers(tuned: TuningRecord, path: str | Path) -> None:
    """The page of answers: to each question the wanted answer, the first and the last."""
    write_page(path, "answers.html", questions=shown_answers(tuned.samples))


def shown_answers(samples: Iterable[Sample]) -> list[ShownQuestion]:
    """To each question of ``samples`` the wanted answer, the first and the last."""
    return [_before_and_after(answer) for answer in answers(samples)]


def write_tuning_samples(tuned: TuningRecord, path: str | Path) -> None:
    """The page of all answers, from before the first step to the last."""
    questions = [_in_between(answer) for answer in answers(tuned.samples)]
    write_page(path, "sft_samples.html", questions=questions)


def _before_and_after(answer: Answers) -> ShownQuestion:
    (first, before), (last, after) = answer.given[0], answer.given[-1]

    shown = [("wanted", answer.expected)] if answer.expected else []
    shown.append(("before" if first == 0 else f"step {first:,}", before))
    if len(answer.given) > 1:
        shown.append((f"after {last:,} steps", after))

    return ShownQuestion(_turns(answer.prompt), [(name, _cut(text)) for name, text in shown])


def _in_between(answer: Answers) -> ShownQuestion:
    """The last turn alone, as the page is long enough with an answer for each evaluation."""
    given = [(f"{step:,}", _cut(text)) for step, text in answer.given]
    return ShownQuestion(_turns(answer.prompt)[-1:], given)


def _turns(prompt: str) -> list[ShownTurn]:
    return [ShownTurn(speaker, _cut(text)) for speaker, text in turns(prompt)]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


@dataclass(frozen=True)
class ShownConversation:
    """The beginning of a conversation; ``cut`` says whether more follows."""

    spans: list[Span]
    cut: bool


def write_conversations(
    packs: PacksManifest,
    configured: Sequence[SftSource],
    examples: Iterable[Sequence[Span]],
    path: str | Path,
) -> None:
    """The page of the data: counts from the packs' manifest, licences of the ``configured``
    sources, and some conversations.
    """
    write_page(
        path,
        "conversations.html",
        sources=list(_sources(packs)),
        details=list(_details(packs)),
        licences=[
            (source.name, conversations_licence(source.name, configured))
            for source in packs.sources
        ],
        packs=list(_packs(packs)),
        examples=[_beginning(spans) for spans in examples],
    )


def _beginning(spans: Sequence[Span]) -> ShownConversation:
    room, shown = LONGEST, []
    for text, learned in spans:
        shown.append((text[:room], learned))
        room -= len(text)
        if room <= 0:
            return ShownConversation(shown, cut=True)
    return ShownConversation(shown, cut=False)


def _sources(packs: PacksManifest) -> Iterator[list[str]]:
    """Of each source: name, rows read, unfit ones, copies, too long ones, conversations used."""
    for source in packs.sources:
        counts = (source.read, source.unfit, source.duplicates, source.too_long, source.kept)
        yield [source.name, *(f"{count:,}" for count in counts)]


def _details(packs: PacksManifest) -> Iterator[list[str]]:
    """Of each source: why rows are unfit or left out, which answers aren't learned, what wasn't
    read; each with a count.
    """
    for source in packs.sources:
        reading = source.reading
        counts = {f"unfit: {reason}": rows for reason, rows in reading.invalid.items()}
        counts["left out: over the source's limit"] = source.over_limit
        counts["left out: to be forgotten"] = source.forgotten
        counts["answers that are read but not learned"] = source.answers_only_read
        counts |= {f"not read: {name}": rows for name, rows in reading.unread.items()}
        yield from ([source.name, what, f"{count:,}"] for what, count in counts.items() if count)


def _packs(packs: PacksManifest) -> Iterator[list[str]]:
    """What fills the training packs and the held-out ones."""
    parts = [packs.train or PackedPart(), packs.val or PackedPart()]
    length = "?" if packs.context is None else packs.context

    yield ["conversations", *map(_conversations, parts)]
    yield [f"packs of {length} tokens", *(f"{part.packs:,}" for part in parts)]
    yield ["tokens", *(f"{part.tokens:,}" for part in parts)]
    yield ["of them learned", *(f"{part.learned_tokens:,}" for part in parts)]
    yield ["share that is learned", *(_learned_share(part) for part in parts)]
    yield ["padding", *(_padding(part) for part in parts)]


def _conversations(part: PackedPart) -> str:
    different = part.conversations if part.different is None else part.different
    again = part.conversations - different
    return f"{different:,}" + (f", and {again:,} of them again" if again else "")


def _learned_share(part: PackedPart) -> str:
    return f"{part.learned_tokens / part.tokens:.1%}" if part.tokens else "–"


def _padding(part: PackedPart) -> str:
    return "–" if part.efficiency is None else f"{1 - part.efficiency:.2%}"
