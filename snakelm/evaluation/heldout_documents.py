"""The held-out documents of a run: their sizes, which are clean, where they came from, and the
hardest and easiest of them as text.

A document is clean when training text holds few of its tokens in long copied spans
(`evaluate.clean_share`). Token files know documents by id alone; source, file and row stand in the
documents file that they were made from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..data.bins import TokenBin, open_bin
from ..data.documents.table import read_documents
from ..data.tokens.overlap import read_shares
from ..errors import UserError
from ..files import atomic_path
from ..tokenizer import Tokenizer
from .loss_record import DocumentExcerpt
from .records import Stage

__all__ = [
    "BITS",
    "UNKNOWN",
    "HeldOutCorpus",
    "Origins",
    "characters_begun",
    "extremes",
    "open_held_out",
    "write_documents",
]

BITS = 1 / np.log(2)  # in a nat
UNKNOWN = "unknown"
SHOWN = 6  # documents of each kind
ENOUGH_BYTES = 200  # a shorter document is hard or easy by luck
EXCERPT_TOKENS, EXCERPT = 400, 600  # tokens decoded, characters shown


@dataclass(frozen=True)
class Origins:
    """Where documents came from, each a list [documents]. Of an id that the documents file lacks
    ``source`` is `UNKNOWN` and the others None.
    """

    source: list[str]
    file: list[str | None]
    row: list[int | None]


@dataclass(frozen=True)
class HeldOutCorpus:
    """The documents of val.bin; arrays are [documents]."""

    val: TokenBin
    bytes: np.ndarray  # int64, of text
    characters: np.ndarray  # int64, of text
    tokens: np.ndarray  # int64, of text: without the end-of-text token that a document begins with
    clean: np.ndarray  # bool
    origins: Origins

    def bits_per_byte(self, nll: np.ndarray) -> np.ndarray:
        """Of each document, from its loss in nats; 0 for one without text."""
        return nll * BITS / np.maximum(self.bytes, 1)


def open_held_out(
    processed: Path, documents: Path, tokenizer: Tokenizer, clean_share: float
) -> HeldOutCorpus:
    """Opens val.bin and looks its documents up; UserError when there is no text in it."""
    val = open_bin(processed / "val.bin", tokenizer.sha256)
    shares = read_shares(processed / "val_overlap.npy", val)

    texts = [val.document(i)[1:] for i in range(val.meta.documents)]
    sizes = np.array([int(tokenizer.token_lengths[text].sum()) for text in texts], np.int64)
    begun = characters_begun(tokenizer)
    characters = np.array([int(begun[text].sum()) for text in texts], np.int64)
    if not sizes.sum():
        raise UserError(
            f"{val.path}: no held-out text; raise prepare.val_fraction or bring more documents"
        )

    lengths = np.array([text.size for text in texts], np.int64)
    origins = _origins(documents, val.document_ids)
    return HeldOutCorpus(val, sizes, characters, lengths, shares < clean_share, origins)


def characters_begun(tokenizer: Tokenizer) -> np.ndarray:
    """How many characters begin in each token, int64 [V]: the bytes that don't continue one (in
    UTF-8 those are 10xxxxxx). A character that is split over tokens counts once.
    """
    special = set(tokenizer.special_tokens.values())
    return np.array(
        [
            0
            if token in special
            else sum(byte & 0xC0 != 0x80 for byte in tokenizer.decode_bytes([token]))
            for token in range(tokenizer.vocab_size)
        ],
        np.int64,
    )


def _origins(documents: Path, ids: np.ndarray) -> Origins:
    """Looks up ``ids``, uint64 [n]; of documents with the same text, and so the same id, the first
    row counts.
    """
    origins = Origins([UNKNOWN] * ids.size, [None] * ids.size, [None] * ids.size)
    if not ids.size:
        return origins

    # The held-out ids are few and fit in memory sorted; the documents file streams past them.
    order = np.argsort(ids, kind="stable")
    ascending = ids[order]
    columns = ["source", "origin_file", "origin_row"]

    for batch in read_documents(documents, ["id", *columns]):
        row_ids = batch.column("id").to_numpy()
        nearest = np.minimum(np.searchsorted(ascending, row_ids), ids.size - 1)
        for row in np.flatnonzero(ascending[nearest] == row_ids).tolist():
            first = int(np.searchsorted(ascending, row_ids[row], "left"))
            last = int(np.searchsorted(ascending, row_ids[row], "right"))
            for i in order[first:last].tolist():
                if origins.source[i] == UNKNOWN:
                    values = [batch.column(name)[row].as_py() for name in columns]
                    origins.source[i], origins.file[i], origins.row[i] = values
    return origins


def extremes(
    held_out: HeldOutCorpus, nll: Mapping[Stage, np.ndarray], tokenizer: Tokenizer
) -> tuple[list[DocumentExcerpt], list[DocumentExcerpt]]:
    """The hardest and the easiest documents by the base model's bits per character, which compare
    across scripts, the most extreme first. ``nll``: each stage's loss in nats, [documents].
    """
    rates = nll["base"] / np.maximum(held_out.characters, 1)
    long = np.flatnonzero(held_out.bytes >= ENOUGH_BYTES)
    candidates = long if long.size else np.flatnonzero(held_out.bytes)
    order = candidates[np.argsort(rates[candidates], kind="stable")]
    if order.size == 1:
        return [_excerpt(int(order[0]), held_out, nll, tokenizer)], []

    count = min(SHOWN, order.size // 2)  # so that no document is both
    hardest = [_excerpt(i, held_out, nll, tokenizer) for i in order[::-1][:count].tolist()]
    easiest = [_excerpt(i, held_out, nll, tokenizer) for i in order[:count].tolist()]
    return hardest, easiest


def _excerpt(
    i: int, held_out: HeldOutCorpus, nll: Mapping[Stage, np.ndarray], tokenizer: Tokenizer
) -> DocumentExcerpt:
    tokens = held_out.val.document(i)[1 : 1 + EXCERPT_TOKENS]
    text = tokenizer.decode(tokens)
    complete = tokens.size == held_out.tokens[i] and len(text) <= EXCERPT

    bits = {name: float(losses[i] * BITS / held_out.bytes[i]) for name, losses in nll.items()}
    tuned = {"bpb_tuned": bits["tuned"]} if "tuned" in bits else {}
    return DocumentExcerpt(
        id=str(held_out.val.document_ids[i]),
        source=held_out.origins.source[i],
        file=held_out.origins.file[i],
        row=held_out.origins.row[i],
        bytes=int(held_out.bytes[i]),
        characters=int(held_out.characters[i]),
        clean=bool(held_out.clean[i]),
        bpb_base=bits["base"],
        text=text if complete else text[: EXCERPT - 1] + "…",
        **tuned,
    )


def write_documents(
    path: str | Path, held_out: HeldOutCorpus, nll: Mapping[Stage, np.ndarray]
) -> None:
    """Parquet with a row for each held-out document, in val.bin's order: where it is from, its
    size, each stage's bits per byte (null for a document without text).
    """
    columns = {
        "id": pa.array(held_out.val.document_ids, pa.uint64()),
        "source": pa.array(held_out.origins.source, pa.string()),
        "origin_file": pa.array(held_out.origins.file, pa.string()),
        "origin_row": pa.array(held_out.origins.row, pa.int64()),
        "bytes": pa.array(held_out.bytes),
        "characters": pa.array(held_out.characters),
        "tokens": pa.array(held_out.tokens),
        "clean": pa.array(held_out.clean),
    }
    for name, losses in nll.items():
        rates = held_out.bits_per_byte(losses)
        columns[f"bpb_{name}"] = pa.array(rates, pa.float64(), mask=held_out.bytes == 0)

    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd", write_page_checksum=True)
