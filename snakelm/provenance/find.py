"""Documents and conversations of a run that hold a phrase, with the hashes that `forget` takes."""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..config import PreferenceSource, read_section
from ..data.conversations.formats import Messages
from ..data.conversations.preference_reader import PreferenceReader
from ..data.conversations.prepare_preferences import source_name
from ..data.conversations.token_store import conversation_bytes
from ..data.corpora import answer_pairs
from ..data.documents.forget_list import text_hash
from ..data.documents.table import read_documents
from ..errors import UserError
from ..terminal import harmless
from .chain import Node, read_chain
from .token_origin import conversations_read, row_in_words

__all__ = ["FoundText", "find_conversations", "find_documents", "find_preferences"]

AROUND = 60  # characters shown on either side of what was found
COLUMNS = ["text", "source", "origin_file", "origin_row"]
Placed = tuple[str, str | None, int | None, list[Messages]]  # source, file, row, conversations


@dataclass(frozen=True)
class FoundText:
    """A document or conversation that holds the phrase."""

    sha256: str
    where: str
    excerpt: str

    def line(self, show: bool) -> str:
        """As a list of hashes has it; with ``show`` what was found stands in its comment."""
        shown = f": {harmless(self.excerpt)}" if show else ""
        return f"{self.sha256}  # {harmless(self.where)}{shown}"


def find_documents(results: Path, phrase: re.Pattern[str]) -> Iterator[FoundText]:
    """Of all sampled documents of the run in ``results``; UserError where there are none."""
    files = sorted(results.glob("data/sampled/*.parquet"))
    if not files:
        raise UserError(
            f"{results}/data/sampled: no documents there; name the results folder of a run that "
            "has sampled its sources"
        )
    for file in files:
        for batch in read_documents(file, COLUMNS):
            for row, text in enumerate(batch.column("text").to_pylist()):
                if match := phrase.search(text):
                    source, name, number = (batch.column(c)[row].as_py() for c in COLUMNS[1:])
                    where = f"{source}, {row_in_words(name, number)}"
                    yield FoundText(text_hash(text.encode()), where, _excerpt(text, match))


def find_conversations(results: Path, phrase: re.Pattern[str]) -> Iterator[FoundText]:
    """Of all conversations that the run's packs were made from, read again."""
    node = read_chain(results / "data/processed/train_sft_packed.bin").named("train_sft_packed.bin")
    read = conversations_read(node)
    return _holding(((name, file, row, [one]) for name, file, row, one in read), phrase)


def find_preferences(results: Path, phrase: re.Pattern[str]) -> Iterator[FoundText]:
    """Of all preferences that the run was packed from, each answer's conversation, read again; a
    pair is forgotten with either.
    """
    node = read_chain(results / "data/processed/train_preferences.bin").named(
        "train_preferences.bin"
    )
    return _holding(_preferences_read(node), phrase)


def _preferences_read(node: Node) -> Iterator[Placed]:
    """All that the packs ``node`` were made from."""
    manifest = node.manifest or {}
    files = {name: used.path for name, used in node.inputs.items() if used.path.is_file()}
    own = {name: path for name, path in files.items() if path.name != "meta.json"}
    for values in manifest["config"]["preferences"]["sources"]:
        source = read_section(PreferenceSource, values)
        if source.builtin:
            for example in answer_pairs.pairs(manifest["seed"]):
                yield source_name(source), None, None, example.conversations
            continue

        # As with conversations: each file as the source would be.
        columns, largest = source.columns, sys.maxsize - 1
        for file, path in own.items():
            reader = PreferenceReader([path], columns=columns, largest=largest, on_bad="skip")
            for example in reader.items():
                yield source_name(source), file, reader.row, example.conversations


def _holding(read: Iterable[Placed], phrase: re.Pattern[str]) -> Iterator[FoundText]:
    """The conversations of which a turn has the phrase; once, though two sources read a row."""
    seen: set[tuple[str | None, int | None, str]] = set()
    for source, file, row, conversations in read:
        for messages in conversations:
            turns = (message["content"] for message in messages)
            match = next(filter(None, map(phrase.search, turns)), None)
            if match is None:
                continue

            found = (file, row, text_hash(conversation_bytes(messages)))
            if file is None or found not in seen:
                seen.add(found)
                # Which source's file it is isn't recorded; each was asked for all of them.
                where = row_in_words(file, row) if file else source
                yield FoundText(found[2], where, _excerpt(match.string, match))


def _excerpt(text: str, match: re.Match[str]) -> str:
    first, last = max(0, match.start() - AROUND), match.end() + AROUND
    return ("…" if first else "") + text[first:last] + ("…" if last < len(text) else "")
