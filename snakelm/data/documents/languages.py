"""Tells each document's language, in a column of its own, and drops those in languages that aren't
wanted; documents stream past, one at a time.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...config import Languages
from ...log import Log
from .dropped_examples import DroppedExamples
from .identification import UNKNOWN, Identifier, Verdict
from .table import WITH_LANGUAGE, text_sizes
from .write_kept import write_kept

__all__ = ["languages"]

OTHER = "other languages"  # what a document counts under that is in a language not wanted

SourceCounts = dict[str, Any]  # read, kept, kept_bytes; dropped, unknown: reason → documents


def languages(
    documents: Path, output: Path, rules: Languages, seed: int, log: Log
) -> tuple[dict[str, Any], dict[str, list]]:
    """Writes the documents that stay to ``output`` (WITH_LANGUAGE); returns the counts per source
    and language, and examples of what was dropped.
    """
    sorting = _Sorting(rules, seed)
    total, writer = write_kept(
        documents,
        output,
        sorting.kept,
        lambda total: (
            f"no document of {total:,} is in a language of languages.keep; found "
            f"{sorting.summary()}; name one of these, or set languages.unknown: keep"
        ),
        log,
        schema=WITH_LANGUAGE,
    )

    log.say(f"{total:,} documents → {writer.documents:,} ({sorting.summary()})")
    counts = {
        "sources": sorting.counts,
        "languages": sorting.by_language(),
        "documents": writer.documents,
        "text_bytes": writer.text_bytes,
    }
    return counts, sorting.examples.by_reason()


class _Sorting:
    """Tells the languages of batches of documents, and counts them source by source."""

    def __init__(self, rules: Languages, seed: int) -> None:
        self.rules = rules
        self.identifier = Identifier(rules)
        self.counts: dict[str, SourceCounts] = {}
        self.found: dict[str, dict[str, Counter[str]]] = {}  # language → counts by source
        self.examples = DroppedExamples(seed)

    def kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The documents that stay, with their language."""
        sources = batch.column("source").to_pylist()
        verdicts = [self.identifier.tell(text) for text in batch.column("text").to_pylist()]
        sizes = text_sizes(batch.column("text")).tolist()
        rows: list[int] = []

        for row, (verdict, source) in enumerate(zip(verdicts, sources, strict=True)):
            reason = self._reason_to_drop(verdict)
            self._count(verdict, source, sizes[row], reason)
            if reason is None:
                rows.append(row)
            else:
                self.examples.add(
                    reason, batch, row, language=verdict.language, confidence=verdict.confidence
                )

        told = pa.array([verdict.language for verdict in verdicts], pa.string())
        columns = [*(batch.column(name) for name in WITH_LANGUAGE.names[:-1]), told]
        result = pa.RecordBatch.from_arrays(columns, schema=WITH_LANGUAGE)
        return result if len(rows) == len(verdicts) else result.take(pa.array(rows, pa.int64()))

    def _reason_to_drop(self, verdict: Verdict) -> str | None:
        if not isinstance(self.rules.keep, list) or verdict.language in self.rules.keep:
            return None
        if verdict.language == UNKNOWN:
            return verdict.reason if self.rules.unknown == "drop" else None
        return OTHER

    def _count(self, verdict: Verdict, source: str, size: int, dropped: str | None) -> None:
        counts = self.counts.setdefault(
            source, {"read": 0, "kept": 0, "kept_bytes": 0, "dropped": {}, "unknown": {}}
        )
        counts["read"] += 1
        if verdict.reason:
            counts["unknown"][verdict.reason] = counts["unknown"].get(verdict.reason, 0) + 1

        mine = self.found.setdefault(verdict.language, {}).setdefault(source, Counter())
        mine.update(documents=1, bytes=size, kept=dropped is None)
        if dropped is None:
            counts["kept"] += 1
            counts["kept_bytes"] += size
        else:
            counts["dropped"][dropped] = counts["dropped"].get(dropped, 0) + 1

    def by_language(self) -> dict[str, dict[str, dict[str, int]]]:
        """Language → source → documents, bytes and kept documents; the commonest language first."""
        documents = {
            language: sum(counts["documents"] for counts in sources.values())
            for language, sources in self.found.items()
        }
        order = sorted(documents, key=lambda language: (-documents[language], language))
        return {
            language: {source: dict(counts) for source, counts in self.found[language].items()}
            for language in order
        }

    def summary(self) -> str:
        """Languages and their documents, and why some are unknown, in one line."""
        sums = {
            language: sum(counts["documents"] for counts in sources.values())
            for language, sources in self.by_language().items()
        }
        reasons: Counter[str] = Counter()
        for counts in self.counts.values():
            reasons.update(counts["unknown"])

        parts = [f"{language} {count:,}" for language, count in sums.items()]
        why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
        return ", ".join(parts) + (f"; {UNKNOWN}: {why}" if why else "")
