"""documents.parquet: a vector of each chosen document, with what is known of the document.

What a row group of the corpus gives is a file of its own until all are there, in a folder beside
the output that is named after all that decides a row. A killed run finds them and goes on with as
many threads as it began with; the output is written from them in one go, so it is the same bytes
whether or not the run was ever broken off.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...data.documents.table import read_documents, text_sizes
from ...errors import UserError
from ...files import atomic_path
from ...log import Log
from .choice import Chosen

__all__ = [
    "EXCERPT",
    "Facts",
    "Read",
    "Source",
    "began_with",
    "excerpt",
    "parts_folder",
    "schema",
    "write_embeddings",
]

EXCERPT = 120  # characters of a document that are kept
SEARCHED = 2000  # characters that the excerpt is taken from
GROUP = 8192  # rows of the output's row groups
LARGEST = 65504.0  # of float16


@dataclass(frozen=True)
class Facts:
    """What else is known of documents, by id: those held out, and the filter's scores where there
    are any.
    """

    held_out: np.ndarray  # uint64 [n]
    scored: np.ndarray  # uint64 [m], sorted
    scores: np.ndarray  # float32 [m]

    @classmethod
    def of(cls, chosen: Chosen, held_out: np.ndarray, scores: Path | None) -> "Facts":
        """``scores``: the filter's scores.parquet; what isn't chosen is not kept in memory."""
        ids, values = [np.zeros(0, np.uint64)], [np.zeros(0, np.float32)]
        for batch in read_documents(scores, ["id", "score"]) if scores else []:
            found = batch.column("id").to_numpy()
            wanted = np.isin(found, chosen.ids)
            ids.append(found[wanted])
            values.append(batch.column("score").to_numpy()[wanted])
        scored, first = np.unique(np.concatenate(ids), return_index=True)
        return cls(held_out, scored, np.concatenate(values)[first])

    def score(self, ids: np.ndarray) -> pa.Array:
        """float32 [n] for ``ids`` [n], null where there is none."""
        known = np.isin(ids, self.scored)
        places = np.where(known, np.searchsorted(self.scored, ids), 0)
        values = self.scores[places] if self.scored.size else np.zeros(ids.size, np.float32)
        return pa.array(values, pa.float32(), mask=~known)


@dataclass(frozen=True)
class Read:
    """What models made of n documents: ``tokens`` int64 [n] of the whole text, ``loss`` float32 [n]
    in bits per byte, NaN where there is no text, ``vectors`` float32 [n, width].
    """

    tokens: np.ndarray
    loss: np.ndarray
    vectors: np.ndarray

    @classmethod
    def blank(cls, tokens: np.ndarray, width: int) -> "Read":
        """To be filled in."""
        return cls(
            tokens,
            np.full(tokens.size, np.nan, np.float32),
            np.zeros((tokens.size, width), np.float32),
        )


@dataclass(frozen=True)
class Source:
    """Vectors of ``width`` are made by ``read``: texts, and what hears how many of them are done →
    `Read`.
    """

    width: int
    read: Callable[[pa.Array, Callable[[int], None]], Read]


def schema(width: int) -> pa.Schema:
    """Columns of documents.parquet for vectors of ``width``. loss: bits per byte of the tokens that
    the model reads.
    """
    return pa.schema(
        [
            ("id", pa.uint64()),
            ("source", pa.string()),
            ("origin_file", pa.string()),
            ("origin_row", pa.int64()),
            ("bytes", pa.int64()),
            ("tokens", pa.int64()),
            ("held_out", pa.bool_()),
            ("loss", pa.float32()),
            ("score", pa.float32()),
            ("excerpt", pa.string()),
            ("vector", pa.list_(pa.float16(), width)),
        ]
    )


def parts_folder(output: Path, decides: Iterable[str]) -> Path:
    """`.parts/<hash of what decides a row>` beside the output; what other settings left there
    goes.
    """
    name = hashlib.sha256(" ".join(decides).encode()).hexdigest()[:16]
    folder = output.absolute().parent / ".parts" / name
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other)
    return folder


def began_with(parts: Path) -> int | None:
    """The threads that the parts there were made with; None when there are none."""
    file = parts / "threads"
    return int(file.read_text(encoding="ascii")) if file.is_file() else None


def write_embeddings(
    documents: Path,
    chosen: Chosen,
    source: Source,
    facts: Facts,
    parts: Path,
    output: Path,
    log: Log,
) -> None:
    """Writes ``output``; goes on after what is in ``parts``, and removes it."""
    columns = schema(source.width)
    before = sum(rows.size for group, rows in chosen.groups() if _part(parts, group).is_file())
    if before:
        log.say(f"goes on after {before:,} documents")
    with log.progress(len(chosen), "documents") as bar:
        done = 0
        for group, rows in chosen.groups():
            if not _part(parts, group).is_file():
                batch = chosen.rows(documents, group)
                made = _rows(
                    batch, source, facts, columns, lambda n, base=done: bar.update(base + n)
                )
                with atomic_path(_part(parts, group)) as temporary:
                    pq.write_table(made, temporary, write_page_checksum=True)
            done += rows.size
            bar.update(done)
    _gather([_part(parts, group) for group, _ in chosen.groups()], columns, output)
    shutil.rmtree(parts.parent)


def _rows(
    batch: pa.RecordBatch,
    source: Source,
    facts: Facts,
    columns: pa.Schema,
    tell: Callable[[int], None],
) -> pa.Table:
    texts, ids = batch.column("text"), batch.column("id").to_numpy()
    found = source.read(texts, tell)
    _check_finite(found.vectors, ids)
    halves = pa.array(np.clip(found.vectors, -LARGEST, LARGEST).astype(np.float16).ravel())
    made = {
        "bytes": pa.array(text_sizes(texts)),
        "tokens": pa.array(found.tokens),
        "held_out": pa.array(np.isin(ids, facts.held_out)),
        "loss": pa.array(found.loss, mask=~np.isfinite(found.loss)),
        "score": facts.score(ids),
        "excerpt": pa.array(
            [excerpt(t) for t in pc.utf8_slice_codeunits(texts, 0, SEARCHED).to_pylist()],
            pa.string(),
        ),
        "vector": pa.FixedSizeListArray.from_arrays(halves, source.width),
    }
    return pa.table(
        [made[name] if name in made else batch.column(name) for name in columns.names], columns
    )


def excerpt(text: str) -> str:
    """The first 120 characters of ``text`` in one line; the last is … where more follows."""
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"


def _check_finite(vectors: np.ndarray, ids: np.ndarray) -> None:
    wrong = np.flatnonzero(~np.isfinite(vectors).all(1))
    if wrong.size:
        raise UserError(
            f"document {int(ids[wrong[0]]):016x}: its vector has values that are no numbers; the model's training "
            "diverged: look at the loss, lower train.lr and train again"
        )


def _gather(parts: Sequence[Path], columns: pa.Schema, output: Path) -> None:
    waiting: list[pa.Table] = []
    with (
        atomic_path(output) as temporary,
        pq.ParquetWriter(temporary, columns, compression="zstd", write_page_checksum=True) as file,
    ):
        for i, part in enumerate(parts):
            waiting += [pa.Table.from_batches(read_documents(part), columns)]
            if sum(table.num_rows for table in waiting) >= GROUP or i == len(parts) - 1:
                file.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting = []


def _part(parts: Path, group: int) -> Path:
    return parts / f"group-{group:06}.parquet"
