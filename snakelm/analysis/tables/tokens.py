"""tokenizer.html: what the tokenizer makes of text: rates by source, examples token by token, the
commonest, longest and unused tokens.
"""

from collections.abc import Iterator
from pathlib import Path

from ...evaluation.records import SourceTokens, TextTokens, TokenizerRecord
from ..pages import write_page

__all__ = ["write_tokenizer"]

VISIBLE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"})
LONGEST = 60  # characters of a token in a list


def write_tokenizer(record: TokenizerRecord, path: str | Path) -> None:
    """The page of tokens.json."""
    lists = {"Used most": record.most, "Longest": record.longest}
    write_page(
        path,
        "tokenizer.html",
        record=record,
        rates=list(_rates(record)),
        # In an example a line break stays one, behind its sign.
        examples=[
            (text.source, [piece.replace("\n", "⏎\n") for piece in text.pieces])
            for text in record.examples
        ],
        lists={
            title: [(_visible(piece), count) for piece, count in pairs]
            for title, pairs in lists.items()
            if pairs
        },
        unseen=[_visible(piece) for piece in record.unseen],
    )


def _rates(record: TokenizerRecord) -> Iterator[tuple[str, str, str, str]]:
    """Name, bytes a token, tokens a word, characters a token; words and characters are counted by
    source only.
    """
    texts: list[TextTokens] = [*record.sources, *record.bins]
    for text in texts:
        words, characters = 0, 0
        if isinstance(text, SourceTokens):
            words, characters = text.words, text.characters
        yield (
            text.name,
            _ratio(text.bytes, text.tokens),
            _ratio(text.tokens, words),
            _ratio(characters, text.tokens),
        )


def _ratio(a: int, b: int) -> str:
    return f"{a / b:.2f}" if a and b else "–"


def _visible(piece: str) -> str:
    """With signs for what can't be seen, and cut."""
    text = piece.translate(VISIBLE)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
