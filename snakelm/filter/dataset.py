"""Keeps the academic documents of a parquet file, a row group at a time, and records the score of
every one.

Scoring is the expensive part, so the scores of each finished row group are a file of their own, in
a folder beside the output that is named after all that decides a score. A killed run finds them and
resumes; when every group has its scores, the output is written from them in one go, so it is the
same bytes whether or not the run was ever interrupted, and the folder is removed.
"""

import hashlib
import heapq
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..data.documents.table import DocumentWriter, open_documents, read_documents, text_sizes
from ..errors import UserError
from ..files import atomic_path, write_json
from ..log import Bar, Log
from ..workflow.manifest import content_hash
from .cascade import Filter
from .records import NearThreshold
from .student import CHARACTERS_PER_WORD

__all__ = ["SCORES", "FilteredCounts", "SourceCounts", "filter_documents"]

SCORES = pa.schema(
    [
        ("id", pa.uint64()),
        ("source", pa.string()),
        ("origin_file", pa.string()),
        ("origin_row", pa.int64()),
        ("score", pa.float32()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("bytes", pa.int64()),
    ]
)
PART = pa.schema([("score", pa.float32()), ("by_setfit", pa.bool_())])
REASONS = np.array(["below, static", "below, setfit", "above, static", "above, setfit"])
SLICE = 4096  # documents whose texts exist as Python strings at a time
SAMPLES, SAMPLE_CHARACTERS = 4, 400


class SourceCounts(TypedDict):
    """What became of a source's documents; ``by_setfit``: scored by SetFit."""

    documents: int
    kept: int
    by_setfit: int
    bytes: int
    kept_bytes: int


class FilteredCounts(TypedDict):
    """What became of all documents; ``documents`` and ``text_bytes`` are those kept."""

    filter: str
    sources: dict[str, SourceCounts]
    highest: float
    documents: int
    text_bytes: int


def filter_documents(
    documents: Path, model: Filter, model_file: Path, output: Path, log: Log
) -> FilteredCounts:
    """Writes what ``model`` keeps to ``output``, with scores.parquet and near_threshold.json beside
    it.

    Gives the counts per source. ``model_file`` is filter.json, whose hash stands for the model.
    Memory: a row group.
    """
    parts = _parts_folder(documents, model, model_file, output)
    with open_documents(documents) as file:
        schema = file.schema
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    with log.progress(sum(sizes), "documents") as bar:
        _score_all(documents, sizes, model, parts, log, bar)

    counts = _write(documents, schema, model, parts, output)
    if not counts["documents"]:
        output.unlink()
        raise UserError(
            f"{documents}: no document reaches the threshold {model.meta.threshold:g}, the highest "
            f"score is {counts['highest']:.3f}; lower classifier.threshold, or look at the labels "
            "in classifier.labels"
        )
    shutil.rmtree(parts.parent)

    total, kept = sum(sizes), counts["documents"]
    by_setfit = sum(source["by_setfit"] for source in counts["sources"].values())
    log.say(
        f"{total:,} documents → {kept:,} ({kept / total:.1%} kept); {model.kind}, {by_setfit:,} "
        "scored by SetFit"
    )
    return counts


def _parts_folder(documents: Path, model: Filter, model_file: Path, output: Path) -> Path:
    """`.scores/<hash of all that decides a score>` beside the output; scores of other settings are
    removed.
    """
    model_hash = hashlib.sha256(model_file.read_bytes()).hexdigest()
    decisive = " ".join([model.kind, content_hash(documents), model_hash])
    name = hashlib.sha256(decisive.encode()).hexdigest()[:16]

    folder = output.absolute().parent / ".scores" / name
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other)
    return folder


def _score_all(
    documents: Path, sizes: list[int], model: Filter, parts: Path, log: Log, bar: Bar
) -> None:
    """A part for each row group, of ``sizes`` documents, that has none yet."""
    scored = sum(rows for group, rows in enumerate(sizes) if _part(parts, group).is_file())
    if scored:
        log.say(f"resumes after {scored:,} documents already scored")

    done = 0
    for group, rows in enumerate(sizes):
        part = _part(parts, group)
        if not part.is_file():
            _score_group(documents, group, model, part, partial(_update, bar, done))
        done += rows
        bar.update(done)


def _update(bar: Bar, before: int, scored: int) -> None:
    bar.update(before + scored)


def _score_group(
    documents: Path, group: int, model: Filter, part: Path, progress: Callable[[int], None]
) -> None:
    most = model.meta.max_tokens * CHARACTERS_PER_WORD  # no more of a text is ever read
    scores, by_setfit = [], []
    for batch in read_documents(documents, ["text"], [group]):
        for first in range(0, batch.num_rows, SLICE):
            texts = pc.utf8_slice_codeunits(batch.column("text").slice(first, SLICE), 0, most)
            own, doubtful = model.score(texts.to_pylist())
            scores.append(own)
            by_setfit.append(doubtful)
            progress(first + len(own))

    columns = [pa.array(np.concatenate(scores)), pa.array(np.concatenate(by_setfit))]
    with atomic_path(part) as temporary:
        pq.write_table(pa.table(columns, schema=PART), temporary, write_page_checksum=True)


def _part(parts: Path, group: int) -> Path:
    return parts / f"group-{group:06}.parquet"


def _read_part(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(scores float32 [n], by SetFit bool [n])"""
    table = pa.Table.from_batches(read_documents(path, PART.names), PART)
    return table["score"].to_numpy(), table["by_setfit"].to_numpy()


def _write(
    documents: Path, schema: pa.Schema, model: Filter, parts: Path, output: Path
) -> FilteredCounts:
    """The kept documents, the scores of all, and samples near the threshold."""
    threshold = model.meta.threshold
    sources: dict[str, SourceCounts] = {}
    nearest, highest = _Nearest(threshold), 0.0

    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(output.with_name("scores.parquet")))
        table = stack.enter_context(
            pq.ParquetWriter(temporary, SCORES, compression="zstd", write_page_checksum=True)
        )
        writer = stack.enter_context(DocumentWriter(output, schema))
        for batch, scores, by_setfit in _with_scores(documents, parts):
            kept = scores >= threshold
            table.write_batch(_score_rows(batch, scores, by_setfit, kept))
            writer.append(batch.filter(pa.array(kept)))
            _count(sources, batch, kept, by_setfit)
            nearest.add(batch, scores)
            highest = max(highest, float(scores.max()))

    near = NearThreshold.model_validate({"threshold": threshold, "sources": nearest.samples()})
    write_json(output.with_name("near_threshold.json"), near.as_json())
    return {
        "filter": model.kind,
        "sources": sources,
        "highest": highest,
        "documents": writer.documents,
        "text_bytes": writer.text_bytes,
    }


def _with_scores(
    documents: Path, parts: Path
) -> Iterator[tuple[pa.RecordBatch, np.ndarray, np.ndarray]]:
    for group, batch in enumerate(read_documents(documents)):
        part = _part(parts, group)
        scores, by_setfit = _read_part(part)
        if scores.size != batch.num_rows:
            raise UserError(
                f"{part}: {scores.size} scores for {batch.num_rows} documents; delete it and run "
                "the same again"
            )
        yield batch, scores, by_setfit


def _score_rows(
    batch: pa.RecordBatch, scores: np.ndarray, by_setfit: np.ndarray, kept: np.ndarray
) -> pa.RecordBatch:
    """Rows of scores.parquet."""
    copied = [batch.column(name) for name in ("id", "source", "origin_file", "origin_row")]
    reasons = pa.array(REASONS[2 * kept + by_setfit])
    sizes = pa.array(text_sizes(batch.column("text")))
    columns = [*copied, pa.array(scores), pa.array(kept), reasons, sizes]
    return pa.RecordBatch.from_arrays(columns, schema=SCORES)


def _count(
    counts: dict[str, SourceCounts],
    batch: pa.RecordBatch,
    kept: np.ndarray,
    by_setfit: np.ndarray,
) -> None:
    """Adds a batch to the counts of its sources."""
    sources, sizes = np.asarray(batch.column("source")), text_sizes(batch.column("text"))
    for source in dict.fromkeys(sources.tolist()):
        own = sources == source
        total = counts.setdefault(
            source, SourceCounts(documents=0, kept=0, by_setfit=0, bytes=0, kept_bytes=0)
        )
        total["documents"] += int(own.sum())
        total["kept"] += int((own & kept).sum())
        total["by_setfit"] += int((own & by_setfit).sum())
        total["bytes"] += int(sizes[own].sum())
        total["kept_bytes"] += int(sizes[own & kept].sum())


@dataclass
class _Nearest:
    """Per source, the few documents whose scores are nearest to the threshold on either side."""

    threshold: float
    # (source, kept) → a heap of (-distance, id, score, text): the farthest of them is first
    heaps: dict[tuple[str, bool], list[tuple[float, int, float, str]]] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch, scores: np.ndarray) -> None:
        """Looks at a batch; only texts that are taken are read. Ties go by id, so the order of
        documents doesn't matter.
        """
        sources, ids = batch.column("source").to_pylist(), np.asarray(batch.column("id"))
        distances = np.abs(scores.astype(np.float64) - self.threshold)
        for i in np.argsort(distances, kind="stable").tolist():
            heap = self.heaps.setdefault((sources[i], bool(scores[i] >= self.threshold)), [])
            nearness = (-float(distances[i]), int(ids[i]))
            if len(heap) == SAMPLES and nearness <= heap[0][:2]:
                continue

            text = batch.column("text").slice(i, 1)
            head = pc.utf8_slice_codeunits(text, 0, SAMPLE_CHARACTERS)[0].as_py()
            replace_or_push = heapq.heappush if len(heap) < SAMPLES else heapq.heapreplace
            replace_or_push(heap, (*nearness, float(scores[i]), head))

    def samples(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """source → kept and dropped → [{score, id, text}], the nearest first."""
        sources = sorted({source for source, _ in self.heaps})
        return {
            source: {"kept": self._side(source, True), "dropped": self._side(source, False)}
            for source in sources
        }

    def _side(self, source: str, kept: bool) -> list[dict[str, Any]]:
        nearest_first = sorted(self.heaps.get((source, kept), []), reverse=True)
        return [
            {"score": round(score, 4), "id": f"{number:016x}", "text": text}
            for _, number, score, text in nearest_first
        ]
