"""Keeps the academic documents of a parquet file, a row group at a time, and records what it
thought of every one.

Scoring is the dear part, so the scores of each finished row group are a file of their own, in a
folder beside the output that is named after all that decides a score. A killed run finds them and
goes on; when every group has its scores, the output is written from them in one go, so it is the
same bytes whether or not the run was ever broken off, and the folder goes.
"""

import hashlib
import heapq
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..data.documents.table import DocumentWriter, open_documents, read_documents, text_sizes
from ..errors import UserError
from ..files import atomic_path, write_json
from ..log import Log
from ..workflow.manifest import content_hash
from .cascade import Filter
from .records import NearThreshold
from .student import CHARACTERS_PER_WORD

__all__ = ["SCORES", "filter_documents"]

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
SLICE = 4096  # documents whose texts exist as Python strings at a time
SAMPLES, SAMPLE_CHARACTERS = 4, 400


def filter_documents(
    documents: Path, model: Filter, model_file: Path, output: Path, log: Log
) -> dict[str, Any]:
    """Writes what ``model`` keeps to ``output``, with scores.parquet and near_threshold.json beside
    it.

    Gives the counts per source. ``model_file`` is filter.json, whose hash stands for the model.
    Memory: a row group.
    """
    parts = _parts_folder(documents, model, model_file, output)
    with open_documents(documents) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    with log.progress(sum(sizes), "documents") as bar:
        _score_all(documents, sizes, model, parts, log, bar)
    found = _write(documents, model, parts, output)
    if not found["documents"]:
        output.unlink()
        raise UserError(
            f"{documents}: no document reaches the threshold {model.meta.threshold:g}, the highest score is "
            f"{found['highest']:.3f}; lower classifier.threshold, or look at the labels in classifier.labels"
        )
    shutil.rmtree(parts.parent)
    total, kept = sum(sizes), found["documents"]
    asked = sum(counts["by_setfit"] for counts in found["sources"].values())
    log.say(
        f"{total:,} documents → {kept:,} ({kept / total:.1%} kept); {model.kind}, {asked:,} read by SetFit"
    )
    return found


def _parts_folder(documents: Path, model: Filter, model_file: Path, output: Path) -> Path:
    """`.scores/<hash of all that decides a score>` beside the output; what other settings left
    there goes.
    """
    decides = [
        model.kind,
        content_hash(documents),
        hashlib.sha256(model_file.read_bytes()).hexdigest(),
    ]
    folder = (
        output.absolute().parent
        / ".scores"
        / hashlib.sha256(" ".join(decides).encode()).hexdigest()[:16]
    )
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other)
    return folder


def _score_all(
    documents: Path, sizes: list[int], model: Filter, parts: Path, log: Log, bar: Any
) -> None:
    done = 0
    before = sum(rows for group, rows in enumerate(sizes) if _part(parts, group).is_file())
    if before:
        log.say(f"goes on after {before:,} documents that are scored")
    for group, rows in enumerate(sizes):
        if not _part(parts, group).is_file():
            _score_group(
                documents,
                group,
                model,
                _part(parts, group),
                lambda n, base=done: bar.update(base + n),
            )
        done += rows
        bar.update(done)


def _score_group(documents: Path, group: int, model: Filter, part: Path, tell: Any) -> None:
    most = model.meta.max_tokens * CHARACTERS_PER_WORD
    scores, by_setfit = [], []
    for batch in read_documents(documents, ["text"], [group]):
        for first in range(0, batch.num_rows, SLICE):
            heads = pc.utf8_slice_codeunits(batch.column("text").slice(first, SLICE), 0, most)
            some, asked = model.score(heads.to_pylist())
            scores.append(some)
            by_setfit.append(asked)
            tell(first + len(some))
    columns = [pa.array(np.concatenate(scores)), pa.array(np.concatenate(by_setfit))]
    with atomic_path(part) as temporary:
        pq.write_table(pa.table(columns, schema=PART), temporary, write_page_checksum=True)


def _part(parts: Path, group: int) -> Path:
    return parts / f"group-{group:06}.parquet"


def _read_part(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(scores float32 [n], by SetFit bool [n])"""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: damaged ({' '.join(str(error).split())}); delete it and run the same again"
        ) from None
    return tuple(column.to_numpy() for column in table.columns)


def _write(documents: Path, model: Filter, parts: Path, output: Path) -> dict[str, Any]:
    counts: dict[str, dict[str, int]] = {}
    nearest = _Nearest(model.meta.threshold)
    highest = 0.0
    scored = output.with_name("scores.parquet")
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(scored))
        table = stack.enter_context(
            pq.ParquetWriter(temporary, SCORES, compression="zstd", write_page_checksum=True)
        )
        writer = stack.enter_context(DocumentWriter(output))
        for batch, scores, by_setfit in _with_scores(documents, parts):
            kept = scores >= model.meta.threshold
            table.write_batch(_rows(batch, scores, by_setfit, kept))
            writer.append(batch.filter(pa.array(kept)))
            _count(counts, batch, kept, by_setfit)
            nearest.add(batch, scores)
            highest = max(highest, float(scores.max()))
    near = NearThreshold.model_validate(
        {"threshold": model.meta.threshold, "sources": nearest.found()}
    )
    write_json(output.with_name("near_threshold.json"), near.as_json())
    totals = {"documents": writer.documents, "text_bytes": writer.text_bytes}
    return {"filter": model.kind, "sources": counts, "highest": highest, **totals}


def _with_scores(
    documents: Path, parts: Path
) -> Iterator[tuple[pa.RecordBatch, np.ndarray, np.ndarray]]:
    for group, batch in enumerate(read_documents(documents)):
        scores, by_setfit = _read_part(_part(parts, group))
        if scores.size != batch.num_rows:
            raise UserError(
                f"{_part(parts, group)}: {scores.size} scores for {batch.num_rows} documents; delete it"
            )
        yield batch, scores, by_setfit


def _rows(
    batch: pa.RecordBatch, scores: np.ndarray, by_setfit: np.ndarray, kept: np.ndarray
) -> pa.RecordBatch:
    reasons = np.array(["below, static", "below, setfit", "above, static", "above, setfit"])[
        2 * kept + by_setfit
    ]
    given = [batch.column(name) for name in ("id", "source", "origin_file", "origin_row")]
    made = [
        pa.array(scores),
        pa.array(kept),
        pa.array(reasons),
        pa.array(text_sizes(batch.column("text"))),
    ]
    return pa.RecordBatch.from_arrays([*given, *made], schema=SCORES)


def _count(
    counts: dict[str, dict[str, int]],
    batch: pa.RecordBatch,
    kept: np.ndarray,
    by_setfit: np.ndarray,
) -> None:
    """Adds to source → documents, kept, by_setfit, bytes, kept_bytes."""
    sources, sizes = np.asarray(batch.column("source")), text_sizes(batch.column("text"))
    for source in dict.fromkeys(sources.tolist()):
        here = sources == source
        mine = counts.setdefault(
            source, dict.fromkeys(("documents", "kept", "by_setfit", "bytes", "kept_bytes"), 0)
        )
        mine["documents"] += int(here.sum())
        mine["kept"] += int((here & kept).sum())
        mine["by_setfit"] += int((here & by_setfit).sum())
        mine["bytes"] += int(sizes[here].sum())
        mine["kept_bytes"] += int(sizes[here & kept].sum())


class _Nearest:
    """Per source, the few documents whose scores are nearest to the threshold on either side."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._heaps: dict[tuple[str, bool], list[tuple[float, int, float, str]]] = {}

    def add(self, batch: pa.RecordBatch, scores: np.ndarray) -> None:
        """Looks at a batch; only texts that come in are read. Ties go by id, so the order of
        documents is no matter.
        """
        sources, ids = batch.column("source").to_pylist(), np.asarray(batch.column("id"))
        distances = np.abs(scores.astype(np.float64) - self.threshold)
        for i in np.argsort(distances, kind="stable").tolist():
            heap = self._heaps.setdefault((sources[i], bool(scores[i] >= self.threshold)), [])
            nearness = (-float(distances[i]), int(ids[i]))
            if len(heap) == SAMPLES and nearness <= heap[0][:2]:
                continue
            text = pc.utf8_slice_codeunits(batch.column("text").slice(i, 1), 0, SAMPLE_CHARACTERS)[
                0
            ].as_py()
            (heapq.heappush if len(heap) < SAMPLES else heapq.heapreplace)(
                heap, (*nearness, float(scores[i]), text)
            )

    def found(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """source → kept and dropped → [{score, id, text}], the nearest first."""
        sources = sorted({source for source, _ in self._heaps})
        return {
            source: {"kept": self._side(source, True), "dropped": self._side(source, False)}
            for source in sources
        }

    def _side(self, source: str, kept: bool) -> list[dict[str, Any]]:
        heap = sorted(self._heaps.get((source, kept), []), reverse=True)
        return [
            {"score": round(score, 4), "id": f"{number:016x}", "text": text}
            for _, number, score, text in heap
        ]
