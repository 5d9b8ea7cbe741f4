"""preferences.html: what became of the preferences, and how the model answers before and after."""

from collections.abc import Iterator
from pathlib import Path

from ..pages import write_page
from ..preference_record import PreferenceRecord
from .tuning import shown_answers

__all__ = ["write_preferences"]


def write_preferences(record: PreferenceRecord, path: str | Path) -> None:
    """The page: counts from the packs' manifest, and answers to some held-out prompts."""
    data = record.data
    write_page(
        path,
        "preferences.html",
        unit=_unit(record),
        # Not rows less what is used: with kto a pair is one row and two answers.
        sources=[
            [one.name, f"{one.read:,}", f"{one.kept:,}", f"{sum(one.left_out.values()):,}"]
            for one in data.sources
        ],
        reasons=[
            [one.name, why, f"{count:,}"]
            for one in data.sources
            for why, count in one.left_out.items()
        ],
        packs=list(_packs(record)),
        questions=shown_answers(record.samples),
    )


def _packs(record: PreferenceRecord) -> Iterator[list[str]]:
    """Facts of the packs: of training, and held out."""
    train, val = record.data.train, record.data.val
    if train is None or val is None:
        return
    both = train, val
    yield [_unit(record), *(f"{part.examples:,}" for part in both)]
    yield ["packs", *(f"{part.packs:,}" for part in both)]
    yield ["tokens", *(f"{part.tokens:,}" for part in both)]
    yield ["of answers", *(f"{part.learned_tokens:,}" for part in both)]
    yield ["padding", *(f"{1 - part.efficiency:.1%}" for part in both)]


def _unit(record: PreferenceRecord) -> str:
    """What the loss counts."""
    return "pairs" if record.data.loss == "dpo" else "answers"
