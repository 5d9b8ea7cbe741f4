"""documents.parquet: a vector of each selected document, with what is known of the document.

Vectors are float16: rounded by 0.05% of a value at most, which moves no document on a map, for half
the bytes of float32. What is too large for float16 is clipped.

Each row group of the corpus makes a part, a file of its own in a folder beside the output that is
named after everything a row depends on. A killed run finds the parts that are there and continues
after them, with as many threads as it began with; the output is written from the parts in one go,
so its bytes are the same whether or not the run was ever interrupted.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...data.documents.table import read_documents, text_sizes
from ...errors import UserError
from ...files import atomic_path, write_text
from ...log import Bar, Log
from .selection import DocumentFacts, Selection

__all__ = [
    "EXCERPT",
    "DocumentEncoder",
    "EmbeddingParts",
    "Encodings",
    "Progress",
    "documents_schema",
    "excerpt",
    "read_vectors",
    "write_embeddings",
]

EXCERPT = 120  # characters of a document that are kept
EXCERPT_SOURCE = 2000  # characters that the excerpt is made from
GROUP_ROWS = 8192  # of the output
FLOAT16_MAX = 65504.0
BESIDE_VECTORS = (
    "id", "source", "origin_file", "bytes", "tokens", "held_out", "loss", "score", "excerpt",
)  # fmt: skip

Progress = Callable[[int], None]  # is called with the number of documents done


@dataclass(frozen=True)
class Encodings:
    """What models say of n documents."""

    tokens: np.ndarray  # int64 [n], of the full text
    loss: np.ndarray  # float32 [n], bits per byte of the tokens read; NaN for an empty text
    vectors: np.ndarray  # float32 [n, width]

    @classmethod
    def empty(cls, tokens: np.ndarray, width: int) -> "Encodings":
        """Losses unknown and vectors zero, to be filled in."""
        loss = np.full(tokens.size, np.nan, np.float32)
        return cls(tokens, loss, np.zeros((tokens.size, width), np.float32))


@dataclass(frozen=True)
class DocumentEncoder:
    """What documents.parquet is made with (encoders.py has two): ``encode`` takes a large_string
    array without nulls and gives vectors of ``width``. It is here, because drawing the map reads
    this module and needs no torch.
    """

    width: int
    encode: Callable[[pa.Array, Progress], Encodings]


def documents_schema(width: int) -> pa.Schema:
    """Columns of documents.parquet for vectors of ``width``."""
    return pa.schema(
        [
            ("id", pa.uint64()),
            ("source", pa.string()),
            ("origin_file", pa.string()),
            ("origin_row", pa.int64()),
            ("bytes", pa.int64()),
            ("tokens", pa.int64()),
            ("held_out", pa.bool_()),
            ("loss", pa.float32()),  # bits per byte of the tokens that the model read
            ("score", pa.float32()),  # the filter's; null where there is none
            ("excerpt", pa.string()),
            ("vector", pa.list_(pa.float16(), width)),
        ]
    )


def read_vectors(path: str | Path) -> tuple[np.ndarray, pa.Table]:
    """Vectors float16 [n, width] of documents.parquet, and the columns `BESIDE_VECTORS`."""
    batches = list(read_documents(path))
    if not batches:
        raise UserError(f"{path}: holds no documents; run generate_embeddings again")

    table = pa.Table.from_batches(batches)
    vectors = table["vector"].combine_chunks()
    width = vectors.type.list_size
    return np.asarray(vectors.flatten()).reshape(-1, width), table.select(BESIDE_VECTORS)


@dataclass(frozen=True)
class EmbeddingParts:
    """The folder of parts of one output, and how many threads they are made with."""

    folder: Path

    @classmethod
    def open(cls, output: Path, depends_on: Iterable[str]) -> "EmbeddingParts":
        """`.parts/<hash>` beside the output, of all that a row depends on; parts that other
        settings left there are removed.
        """
        name = hashlib.sha256(" ".join(depends_on).encode()).hexdigest()[:16]
        folder = output.absolute().parent / ".parts" / name
        folder.mkdir(parents=True, exist_ok=True)

        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other)
        return cls(folder)

    @property
    def threads(self) -> int | None:
        """What the parts there are were made with; None when this run is the first."""
        file = self.folder / "threads"
        return int(file.read_text(encoding="ascii")) if file.is_file() else None

    def begin(self, threads: int) -> None:
        """Notes what the parts are made with."""
        write_text(self.folder / "threads", f"{threads}\n")

    def path(self, group: int) -> Path:
        """The part that row group ``group`` of the corpus makes."""
        return self.folder / f"group-{group:06}.parquet"

    def remove(self) -> None:
        """Called when the output is there."""
        shutil.rmtree(self.folder.parent)


def write_embeddings(
    documents: Path,
    selection: Selection,
    encoder: DocumentEncoder,
    facts: DocumentFacts,
    parts: EmbeddingParts,
    output: Path,
    log: Log,
) -> None:
    """Writes ``output``: makes the parts that are missing, joins them, and removes them."""
    before = sum(rows.size for group, rows in selection.groups() if parts.path(group).is_file())
    if before:
        log.say(f"continues after {before:,} documents")

    with log.progress(len(selection), "documents") as bar:
        done = 0
        for group, rows in selection.groups():
            if not parts.path(group).is_file():
                batch = selection.read(documents, group)
                table = _rows(batch, encoder, facts, partial(_advance, bar, done))
                with atomic_path(parts.path(group)) as temporary:
                    pq.write_table(table, temporary, write_page_checksum=True)
            done += rows.size
            bar.update(done)

    paths = [parts.path(group) for group, _ in selection.groups()]
    _join(paths, documents_schema(encoder.width), output)
    parts.remove()


def _advance(bar: Bar, before: int, done: int) -> None:
    bar.update(before + done)


def _rows(
    batch: pa.RecordBatch, encoder: DocumentEncoder, facts: DocumentFacts, progress: Progress
) -> pa.Table:
    """Rows of documents.parquet for the documents of ``batch``."""
    texts, ids = batch.column("text"), batch.column("id").to_numpy()
    encodings = encoder.encode(texts, progress)
    _check_finite(encodings.vectors, ids)

    half = np.clip(encodings.vectors, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
    heads = pc.utf8_slice_codeunits(texts, 0, EXCERPT_SOURCE).to_pylist()
    columns = {
        "bytes": pa.array(text_sizes(texts)),
        "tokens": pa.array(encodings.tokens),
        "held_out": pa.array(np.isin(ids, facts.held_out)),
        "loss": pa.array(encodings.loss, mask=~np.isfinite(encodings.loss)),
        "score": facts.score(ids),
        "excerpt": pa.array([excerpt(text) for text in heads], pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(half.ravel()), encoder.width),
    }

    schema = documents_schema(encoder.width)
    return pa.table(
        [columns[name] if name in columns else batch.column(name) for name in schema.names], schema
    )


def excerpt(text: str) -> str:
    """The first 120 characters of ``text`` in one line; the last is … where more follows."""
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"


def _check_finite(vectors: np.ndarray, ids: np.ndarray) -> None:
    wrong = np.flatnonzero(~np.isfinite(vectors).all(1))
    if wrong.size:
        raise UserError(
            f"document {int(ids[wrong[0]]):016x}: its vector has NaN or infinite values; the "
            "model's training diverged: look at the loss, lower train.lr and train again"
        )


def _join(parts: Sequence[Path], schema: pa.Schema, output: Path) -> None:
    """The rows of all ``parts`` in one file, in row groups of `GROUP_ROWS` or somewhat more."""
    waiting: list[pa.Table] = []
    with (
        atomic_path(output) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as file,
    ):
        for i, part in enumerate(parts):
            waiting.append(pa.Table.from_batches(read_documents(part), schema))
            if sum(table.num_rows for table in waiting) >= GROUP_ROWS or i == len(parts) - 1:
                file.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting = []
