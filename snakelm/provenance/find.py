"""Documents and conversations of a run that hold a phrase, with the hashes that `forget` takes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..config import PreferenceSource, read_section
from ..data.conversations.formats import Messages
from ..data.conversations.preference_reader import PreferenceReader
from ..data.conversations.preferences import Example
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
    for source, file, row, messages in conversations_read(node):
        where = ", ".join(filter(None, (source, row_in_words(file, row))))
        yield from _in_conversation(messages, where, phrase)


def find_preferences(results: Path, phrase: re.Pattern[str]) -> Iterator[FoundText]:
    """Of all preferences that the run was packed from, each answer's conversation, read again; a
    pair is forgotten with either.
    """
    node = read_chain(results / "data/processed/train_preferences.bin").named(
        "train_preferences.bin"
    )
    manifest = node.manifest or {}
    for values in manifest["config"]["preferences"]["sources"]:
        source = read_section(PreferenceSource, values)
        name = source.builtin or "preferences"
        for example in _examples(source, node, manifest["seed"]):
            for messages in example.conversations:
                yield from _in_conversation(messages, name, phrase)


def _examples(source: PreferenceSource, node: Node, seed: int) -> Iterator[Example]:
    if source.builtin:
        yield from answer_pairs.pairs(seed)
        return
    files = [used.path for used in node.inputs.values() if used.path.name != "meta.json"]
    there = [path for path in files if path.is_file()]
    yield from PreferenceReader(there, columns=source.columns, on_bad="skip").items()


def _in_conversation(
    messages: Messages, where: str, phrase: re.Pattern[str]
) -> Iterator[FoundText]:
    """The conversation, if a turn of it has the phrase."""
    for message in messages:
        if match := phrase.search(message["content"]):
            sha256 = text_hash(conversation_bytes(messages))
            yield FoundText(sha256, where, _excerpt(message["content"], match))
            return


def _excerpt(text: str, match: re.Match[str]) -> str:
    first, last = max(0, match.start() - AROUND), match.end() + AROUND
    return ("…" if first else "") + text[first:last] + ("…" if last < len(text) else "")
