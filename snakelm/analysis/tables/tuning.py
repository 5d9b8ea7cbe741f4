"""answers.html: held-out questions before and after tuning, sft_samples.html: on the way,
conversations.html: data.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..tuned import Answers, Tuned, answers, turns
from .page import Html, element, facts, rows, write_page

__all__ = ["write_answers", "write_conversations", "write_tuning_samples"]

SPEAKERS = {"system": "told beforehand: ", "user": "", "assistant": "answered: ", "": ""}
LONGEST = 2000  # characters of a text that are shown


def write_answers(tuned: Tuned, path: str | Path) -> None:
    """The page of answers: of each question the wanted answer, the first and the last."""
    found = answers(tuned.samples)
    if not found:
        write_page(path, "Answers", element("p", "This run has written no answers yet."))
        return
    intro = (
        "Questions from conversations that the model was not tuned on, answered at temperature 0: by the base model, "
        "before the first step, and after the last. The wanted answer is the one that stands in the conversation."
    )
    write_page(
        path,
        "Answers before and after",
        element("p", intro, class_="soft"),
        [_question(i, answer) for i, answer in enumerate(found, 1)],
    )


def write_tuning_samples(tuned: Tuned, path: str | Path) -> None:
    """The page of all answers, from before the first step to the last."""
    found = answers(tuned.samples)
    if not found:
        write_page(
            path, "Samples while tuning", element("p", "This run has written no answers yet.")
        )
        return
    intro = "The same held-out questions, answered at each evaluation. Step 0 is the base model."
    asked = [_between(i, answer) for i, answer in enumerate(found, 1)]
    write_page(path, "Samples while tuning", element("p", intro, class_="soft"), asked)


def _question(number: int, answer: Answers) -> Html:
    asked = [element("div", SPEAKERS[who], _cut(text)) for who, text in turns(answer.prompt)]
    (first, before), (last, after) = answer.given[0], answer.given[-1]
    known = [("wanted", answer.expected)] if answer.expected else []
    known += [("before" if first == 0 else f"step {first:,}", before)]
    known += [(f"after {last:,} steps", after)] if len(answer.given) > 1 else []
    return element(
        "section",
        element("h2", f"Question {number}"),
        element("pre", asked),
        facts(([name, element("pre", _cut(text))] for name, text in known), ["", "answer"]),
    )


def _between(number: int, answer: Answers) -> Html:
    said = turns(answer.prompt)
    body = [[f"{step:,}", element("pre", _cut(text))] for step, text in answer.given]
    asked = element("pre", _cut(said[-1][1]))
    return element(
        "section", element("h2", f"Question {number}"), asked, facts(body, ["step", "answer"])
    )


def write_conversations(
    packs: Mapping[str, Any], examples: Iterable[Sequence[tuple[str, bool]]], path: str | Path
) -> None:
    """``packs``: manifest of train_sft_packed.bin; ``examples``: conversations as (text, is it
    learned) in order.
    """
    learned = element("span", "green", class_="learned")
    shown = [element("pre", list(_marked(spans))) for spans in examples]
    intro = [
        "Only what is ",
        learned,
        " is learned: the answers and their end. The rest is read to answer it.",
    ]
    write_page(
        path,
        "Conversations",
        element("h2", "From each source"),
        rows(
            ["source", "read", "unfit", "copies", "too long", "used"],
            _sources(packs),
            numbers=range(1, 6),
        ),
        element("h2", "In packs"),
        rows(["", "training", "held out"], _packs(packs), numbers=(1, 2)),
        [element("h2", "As the model sees them"), element("p", *intro, class_="soft"), *shown]
        if shown
        else None,
    )


def _marked(spans: Sequence[tuple[str, bool]]) -> Iterator[Html]:
    room = LONGEST
    for text, learned in spans:
        yield element("span", text[:room], **({"class_": "learned"} if learned else {}))
        room -= len(text)
        if room <= 0:
            yield element("span", " …", class_="prompt")
            return


def _sources(packs: Mapping[str, Any]) -> Iterator[list[object]]:
    for source in packs.get("sources") or []:
        reading = source.get("reading") or {}
        unfit = (
            sum((reading.get("invalid") or {}).values())
            + (reading.get("null") or 0)
            + (reading.get("empty") or 0)
        )
        counts = (
            reading.get("read", source.get("found")),
            unfit,
            source.get("duplicates"),
            source.get("too_long"),
        )
        yield [source.get("name"), *(f"{count or 0:,}" for count in (*counts, source.get("kept")))]


def _packs(packs: Mapping[str, Any]) -> Iterator[list[object]]:
    parts = [
        part if isinstance(part := packs.get(name), Mapping) else {} for name in ("train", "val")
    ]
    for name, key in (
        ("conversations", "conversations"),
        (f"packs of {packs.get('context', '?')} tokens", "packs"),
        ("tokens", "tokens"),
        ("of them learned", "learned_tokens"),
    ):
        yield [name, *(f"{part.get(key, 0):,}" for part in parts)]
    yield [
        "share that is learned",
        *(_share(part.get("learned_tokens"), part.get("tokens")) for part in parts),
    ]
    yield [
        "padding",
        *(f"{1 - part['efficiency']:.2%}" if "efficiency" in part else "–" for part in parts),
    ]


def _share(some: int | None, whole: int | None) -> str:
    return f"{some / whole:.1%}" if some is not None and whole else "–"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"
