"""Where a token of a token file came from: its document, that document's source, file and row, and
whether the row still says so.

A token file holds the id of each document, which is a hash of its text, and documents.parquet says
where each id was read. Packed conversations carry an id of what was said and nothing more, so their
sources are read again until one has it. Rows count from 0, blank lines left out, as in every file
and message of snakelm.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..config import SftSource, read_section
from ..data.bins import open_bin
from ..data.conversations.prepare import shortened
from ..data.conversations.reader import ConversationReader, Messages
from ..data.conversations.token_store import conversation_id
from ..data.corpora import questions
from ..data.documents.table import read_documents
from ..data.packs import open_packs
from ..data.reading.readers import Reader
from ..data.reading.rows import Reading
from ..data.split import document_id as hash_of
from ..errors import UserError
from ..tokenizer import Tokenizer
from .chain import Chain, Node

__all__ = ["BINS", "Origin", "conversations_read", "row_in_words", "token_origin"]

BINS = {"train": "train.bin", "val": "val.bin", "sft": "train_sft_packed.bin"}
AROUND = 24  # tokens shown on either side


@dataclass(frozen=True)
class Origin:
    """What is known of token ``token`` of ``bin``, the ``place``-th of a document of ``length``
    tokens.
    """

    bin: Path
    token: int
    token_id: int
    document: int
    documents: int
    document_id: int
    place: int
    length: int
    before: str
    text: str
    after: str
    source: str
    where: str  # the file, as it was called when it was read, and the row or line in it
    confirmed: str  # what was found on looking there again


@dataclass(frozen=True)
class _Location:
    """Where a document was read."""

    source: str
    where: str
    confirmed: str


def token_origin(chain: Chain, split: str, token: int) -> Origin:
    """The origin of a token of the chain's ``BINS[split]``; UserError when there's no such file,
    document or token.
    """
    node = chain.named(BINS[split])
    is_packed = split == "sft"
    tokens = (
        open_packs(node.path, verify=False).bin if is_packed else open_bin(node.path, verify=False)
    )
    if not 0 <= token < tokens.meta.tokens:
        raise UserError(
            f"--token: found {token:,}; {node.path} has the tokens 0 to {tokens.meta.tokens - 1:,}"
        )

    number = int(np.searchsorted(tokens.document_offsets, token, "right")) - 1
    first, end = tokens.document_offsets[number : number + 2].tolist()
    document_id = tokens.document_ids[number]
    location = _of_conversation(node, document_id) if is_packed else _of_document(node, document_id)

    # Around the token, but not beyond its document.
    tokenizer = Tokenizer.load(chain.named("meta.json").path.parent)
    before, after = max(first, token - AROUND), min(end, token + 1 + AROUND)
    return Origin(
        bin=node.path,
        token=token,
        token_id=int(tokens.tokens[token]),
        document=number,
        documents=tokens.meta.documents,
        document_id=int(document_id),
        place=token - first,
        length=end - first,
        before=_decoded(tokens.tokens[before:token].tolist(), tokenizer),
        text=_decoded(tokens.tokens[token : token + 1].tolist(), tokenizer),
        after=_decoded(tokens.tokens[token + 1 : after].tolist(), tokenizer),
        source=location.source,
        where=location.where,
        confirmed=location.confirmed,
    )


def _decoded(ids: list[int], tokenizer: Tokenizer) -> str:
    """As text, special tokens by their names."""
    names = {special: name for name, special in tokenizer.special_tokens.items()}
    text, plain = "", list[int]()
    for token in ids:
        if token in names:
            text, plain = text + tokenizer.decode(plain) + names[token], []
        else:
            plain.append(token)
    return text + tokenizer.decode(plain)


def _of_document(node: Node, document_id: np.uint64) -> _Location:
    """Looks the id up in documents.parquet, and the row that this names in its file."""
    documents = next(
        (used for used in node.inputs.values() if used.path.name == "documents.parquet"), None
    )
    if documents is None:
        raise UserError(
            f"{node.path}: its manifest names no documents.parquet (one of an older version does "
            "not); run prepare_data again"
        )

    columns, rows = ["source", "origin_file", "origin_row"], []
    for batch in read_documents(documents.path, ["id", *columns]):
        matches = np.flatnonzero(batch.column("id").to_numpy() == document_id)
        rows += batch.select(columns).take(pa.array(matches)).to_pylist()
    if not rows:
        raise UserError(
            f"{documents.path}: has no document {int(document_id):016x}: not what {node.path} was "
            "made from"
        )

    source, file, row = (rows[0][name] for name in columns)
    where, confirmed = _look_again(documents, source, file, row, document_id)
    if copies := len(rows) - 1:  # where deduplicate.exact is off
        confirmed += f"; {copies:,} more rows have this very text"
    return _Location(source, where, confirmed)


def _look_again(
    documents: Node, source: str, file: str, row: int, document_id: np.uint64
) -> tuple[str, str]:
    """(file and row, what was found there)"""
    sampled = _sampled(documents, source)
    used = sampled.inputs.get(file) if sampled else None
    if sampled is None or used is None:
        return _collected(sampled, file, row)
    return row_in_words(file, row), _compared(sampled, used, source, row, document_id)


def _sampled(documents: Node, source: str) -> Node | None:
    """The source's sampled documents, however many steps lie between."""
    waiting, seen = [documents], set()
    while waiting:
        node = waiting.pop()
        if node.step == "sample_data" and node.path.stem == source:
            return node
        if node.path not in seen:
            seen.add(node.path)
            waiting += node.inputs.values()
    return None


def _collected(sampled: Node | None, file: str, row: int) -> tuple[str, str]:
    """Of a document that is in none of the user's files: how it was collected."""
    inputs = sampled.inputs.values() if sampled else ()
    manifest = next((used.manifest for used in inputs if used.manifest), {})
    collected = manifest.get("counts", {}).get("collected", {})
    versions = {one["package"]: one["version"] for one in collected.get("packages", [])}

    name = file.split("/")[0]
    if name in versions:
        return f"{file}, line {row:,}", f"a docstring of the installed {name} {versions[name]}"
    if "generator_seed" in collected:
        return row_in_words(None, row), f"generated, seed {collected['generator_seed']}"
    if "urls" in collected:
        return row_in_words(file, row), f"fetched from {', '.join(collected['urls'])}"
    return row_in_words(file, row), "collected"


def _compared(sampled: Node, used: Node, source: str, row: int, document_id: np.uint64) -> str:
    """What the row of the user's file says now."""
    if not used.path.is_file():
        return "the file is not there any more"

    sources = (sampled.manifest or {})["config"]["sources"]
    settings = next(one for one in sources if one["name"] == source)
    piece = settings.get("split_kb")
    reading = Reading(
        settings["text"],
        largest=sys.maxsize - 1,  # whatever the run took
        split=settings.get("split", "file"),  # as manifests before it have it
        piece_bytes=int(piece * 1000) if piece else None,
        alone=len(sampled.inputs) == 1,
    )
    text = _row_of(used.path, reading, settings["format"], row)
    if text is None:
        return "the file has no such row any more"
    if hash_of(text.encode()) == document_id:
        return "read again: the same text, byte for byte"
    return (
        "read again: another text than the document has, for personal data was masked, quality "
        "rules took lines out, or the file changed"
    )


def _row_of(file: Path, reading: Reading, format: str, row: int) -> str | None:
    for batch in Reader([file], reading=reading, format=format, on_bad="skip").batches():
        rows = batch.column("origin_row")
        if rows[-1].as_py() >= row:
            place = pc.index(rows, row).as_py()
            return batch.column("text")[place].as_py() if place >= 0 else None
    return None


def row_in_words(file: str | None, row: int | None) -> str:
    """A place in a file, as far as it is known."""
    row_words = None if row is None else f"row {row:,} (the first is 0)"
    return ", ".join(part for part in (file, row_words) if part)


def _of_conversation(node: Node, wanted_id: np.uint64) -> _Location:
    """Reads the sources of the packs ``node`` again until one has the conversation."""
    context = (node.manifest or {})["config"]["sft_data"]["context"]
    meta = next(used.path for used in node.inputs.values() if used.path.name == "meta.json")
    tokenizer = Tokenizer.load(meta.parent)

    for source, file, row, messages in conversations_read(node):
        # A conversation longer than the context was packed without its oldest turns.
        short = shortened(messages, context, tokenizer)
        if wanted_id in (conversation_id(one) for one in (messages, short) if one is not None):
            where = row_in_words(file, row)
            return _Location(source, where, "read again: the same conversation")
    return _Location(
        "unknown", "unknown", "none of the sources that are still there has this conversation"
    )


def conversations_read(node: Node) -> Iterator[tuple[str, str | None, int | None, Messages]]:
    """(source, file, row, conversation) of all that the packs ``node`` were made from, as far as
    its files are there: they are read again, as the manifest says.
    """
    manifest = node.manifest or {}
    settings, seed = manifest["config"]["sft_data"], manifest["seed"]
    files = {name: used.path for name, used in node.inputs.items() if used.path.is_file()}
    own = {name: path for name, path in files.items() if path.name != "meta.json"}
    for source in (read_section(SftSource, values) for values in settings["sources"]):
        for file, row, messages in _conversations(source, own, seed):
            yield _name(source), file, row, messages


def _name(source: SftSource) -> str:
    paths = [source.path] if isinstance(source.path, str) else source.path or []
    return source.builtin or ", ".join(paths)


def _conversations(
    source: SftSource, files: dict[str, Path], seed: int
) -> Iterator[tuple[str | None, int | None, Messages]]:
    """(file, row, conversation) of all that a source may have given; of a tree of messages nobody
    knows the row.

    Which files a pattern stood for isn't recorded, only all of them, so each is read as the source
    would be.
    """
    if source.builtin:
        for number, messages in enumerate(questions.conversations(seed)):
            yield None, number, messages
        return

    for name, path in files.items():
        reader = ConversationReader(
            [path],
            shape=source.format,
            columns=source.columns,
            ignore=source.ignore,
            largest=sys.maxsize - 1,
            on_bad="skip",
        )
        for messages in reader.conversations():
            yield name, reader.row, messages
