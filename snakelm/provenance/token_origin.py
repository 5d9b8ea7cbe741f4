"""Where a token of a token file came from: its document, that document's source, file and row, and
whether the row still says so.

A token file holds the id of each document, which is a hash of its text, and documents.parquet says
where each id was read. Packed conversations carry an id of what was said and nothing more, so their
sources are read again until one has it. Rows count from 0, blank lines left out, as in every file
and message of ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..config import SftSource, read_section
from ..data.bins import TokenBin, open_bin
from ..data.conversations.prepare import shortened
from ..data.conversations.reader import ConversationReader
from ..data.conversations.token_store import conversation_id
from ..data.corpora import questions
from ..data.documents.table import read_documents
from ..data.packs import open_packs
from ..data.reading.readers import Reader
from ..data.split import document_id
from ..errors import UserError
from ..tokenizer import Tokenizer
from .chain import Chain, Node

__all__ = ["BINS", "Origin", "token_origin"]

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


def token_origin(chain: Chain, split: str, token: int) -> Origin:
    """The origin of a token of the chain's ``BINS[split]``; UserError when there's no such file,
    document or token.
    """
    node = chain.named(BINS[split])
    opened = (
        open_packs(node.path, verify=False).bin
        if split == "sft"
        else open_bin(node.path, verify=False)
    )
    if not 0 <= token < opened.meta.tokens:
        raise UserError(
            f"--token: found {token:,}; {node.path} has the tokens 0 to {opened.meta.tokens - 1:,}"
        )
    number = int(np.searchsorted(opened.document_offsets, token, "right")) - 1
    wanted = opened.document_ids[number]
    source, where, confirmed = (
        _conversation(node, wanted) if split == "sft" else _document(node, wanted)
    )
    return Origin(
        bin=node.path,
        token=token,
        token_id=int(opened.tokens[token]),
        document=number,
        documents=opened.meta.documents,
        document_id=int(wanted),
        place=token - int(opened.document_offsets[number]),
        length=int(np.diff(opened.document_offsets[number : number + 2])[0]),
        **_around(opened, number, token, Tokenizer.load(chain.named("meta.json").path.parent)),
        source=source,
        where=where,
        confirmed=confirmed,
    )


def _around(opened: TokenBin, number: int, token: int, tokenizer: Tokenizer) -> dict[str, str]:
    """The token's own text and that of its neighbours in the document, special tokens by their
    names.
    """
    first, last = opened.document_offsets[number : number + 2].tolist()
    names = {special: name for name, special in tokenizer.special_tokens.items()}
    parts = {"before": (max(first, token - AROUND), token), "text": (token, token + 1)}
    parts["after"] = (token + 1, min(last, token + 1 + AROUND))
    return {
        name: _decoded(opened.tokens[a:b].tolist(), names, tokenizer)
        for name, (a, b) in parts.items()
    }


def _decoded(ids: list[int], names: dict[int, str], tokenizer: Tokenizer) -> str:
    text, plain = "", []
    for token in ids:
        if token in names:
            text, plain = text + tokenizer.decode(plain) + names[token], []
        else:
            plain.append(token)
    return text + tokenizer.decode(plain)


def _row_words(file: str | None, row: int | None) -> str:
    return ", ".join(
        part for part in (file, f"row {row:,} (the first is 0)" if row is not None else "") if part
    )


def _document(node: Node, wanted: np.uint64) -> tuple[str, str, str]:
    """(source, file and row, what was found there) of a document's id."""
    documents = next(
        (one for one in node.inputs.values() if one.path.name == "documents.parquet"), None
    )
    if documents is None:
        raise UserError(
            f"{node.path}: its manifest names no documents.parquet (one of an older version does not); run "
            "prepare_data again"
        )
    columns, found = ["id", "source", "origin_file", "origin_row"], []
    for batch in read_documents(documents.path, columns):
        here = np.flatnonzero(batch.column("id").to_numpy() == wanted)
        found += batch.select(columns[1:]).take(pa.array(here)).to_pylist()
    if not found:
        raise UserError(
            f"{documents.path}: has no document {int(wanted):016x}: not what {node.path} was made from"
        )
    source, file, row = found[0].values()
    where, confirmed = _row_again(documents, source, file, row, wanted)
    twins = len(found) - 1  # where deduplicate.exact is off
    return (
        source,
        where,
        confirmed + (f"; {twins:,} more rows have this very text" if twins else ""),
    )


def _row_again(
    documents: Node, source: str, file: str, row: int, wanted: np.uint64
) -> tuple[str, str]:
    """(file and row, what was found there)"""
    sampled = _sampled(documents, source)
    used = sampled.inputs.get(file) if sampled else None
    if used is None:
        return _collected(sampled, file, row)
    return _row_words(file, row), _compared(sampled, used, source, row, wanted)


def _collected(sampled: Node | None, file: str, row: int) -> tuple[str, str]:
    """Of a document that is in no file of a person's: how it was collected."""
    raw = next((one for one in sampled.inputs.values() if one.made), None) if sampled else None
    about = raw.made.get("collected", {}) if raw else {}
    packages = {one["package"]: one["version"] for one in about.get("packages", [])}
    name = file.split("/")[0]
    if name in packages:
        return f"{file}, line {row:,}", f"a docstring of the installed {name} {packages[name]}"
    if "generator_seed" in about:
        return _row_words(None, row), f"generated, seed {about['generator_seed']}"
    return _row_words(
        file, row
    ), f"fetched from {', '.join(about['urls'])}" if "urls" in about else "collected"


def _compared(sampled: Node, used: Node, source: str, row: int, wanted: np.uint64) -> str:
    if not used.path.is_file():
        return "the file is not there any more"
    told = next(one for one in sampled.made["config"]["sources"] if one["name"] == source)
    text = _row(used.path, told["text"], told["format"], row)
    if text is None:
        return "the file has no such row any more"
    if document_id(text.encode()) == wanted:
        return "read again: the same text, byte for byte"
    return "read again: another text than the document has, for quality rules took lines out or the file changed"


def _sampled(documents: Node, source: str) -> Node | None:
    """The source's node, however many checks lie between."""
    waiting, seen = [documents], set()
    while waiting:
        node = waiting.pop()
        if node.step == "sample_data" and node.path.stem == source:
            return node
        if node.path not in seen:
            seen.add(node.path)
            waiting += node.inputs.values()
    return None


def _row(file: Path, column: str, format: str, row: int) -> str | None:
    for batch in Reader([file], column=column, format=format, on_bad="skip").batches():
        rows = batch.column("origin_row")
        if rows[-1].as_py() >= row:
            here = pc.index(rows, row).as_py()
            return batch.column("text")[here].as_py() if here >= 0 else None
    return None


def _conversation(node: Node, wanted: np.uint64) -> tuple[str, str, str]:
    """As `_document`; the node's own manifest says which sources were read, and how."""
    made = node.made["config"]["sft_data"]
    files = {path: used.path for path, used in node.inputs.items() if used.path.is_file()}
    meta = next(path for path in files.values() if path.name == "meta.json")
    tokenizer = Tokenizer.load(meta.parent)
    own = {path: file for path, file in files.items() if file != meta}
    for source in (read_section(SftSource, told) for told in made["sources"]):
        for file, row, messages in _read_again(source, own, node.made["seed"]):
            versions = [messages, shortened(messages, made["context"], tokenizer)]
            if any(one is not None and conversation_id(one) == wanted for one in versions):
                return _name(source), _row_words(file, row), "read again: the same conversation"
    return "unknown", "unknown", "none of the sources that are still there has this conversation"


def _name(source: SftSource) -> str:
    return source.builtin or ", ".join(
        [source.path] if isinstance(source.path, str) else source.path or []
    )


def _read_again(
    source: SftSource, files: dict[str, Path], seed: int
) -> Iterator[tuple[str | None, int | None, list[dict[str, Any]]]]:
    """(file, row, conversation) of all that a source may have given; of a tree of messages nobody
    knows the row.

    Which files a pattern stood for isn't recorded, only all of them, so each is read as the source
    would be.
    """
    if source.builtin:
        yield from (
            (None, number, talk) for number, talk in enumerate(questions.conversations(seed))
        )
        return
    for name, path in files.items():
        reader = ConversationReader(
            [path], shape=source.format, columns=source.columns, on_bad="skip"
        )
        for messages in reader.conversations():
            yield name, reader.row, messages
