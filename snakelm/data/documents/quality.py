"""Documents that break a quality rule are dropped; they stream past, one at a time.

The rules on lines go first and change the text, which then gets an id of its own. The others
measure what is left: the first rule that a document breaks, in the order of the config, is the one
it counts under (snakelm/data/documents/quality_rules.py has them).
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...config import Quality
from ...log import Log
from .changed_texts import COPY, NewTexts, with_texts
from .dropped_examples import DroppedExamples
from .quality_rules import bounds_of, drop_lines, judge
from .table import languages_of, text_sizes
from .write_kept import write_kept

__all__ = ["quality"]

NO_LINES = "no lines left"  # what a document counts under whose every line was dropped

SourceCounts = dict[str, Any]  # read, kept, kept_bytes, changed; dropped: rule → documents


def quality(
    documents: Path, output: Path, rules: Quality, seed: int, log: Log, exact: bool = True
) -> tuple[dict[str, Any], dict[str, list]]:
    """Writes the documents that pass to ``output``; returns the counts per source and rule, and
    examples per rule. ``exact``: of documents that are equal without their lines the first stays.
    """
    judging = _Judging(rules, seed, exact)
    total, writer = write_kept(
        documents,
        output,
        judging.kept,
        lambda total: f"no document of {total:,} passes the rules of `quality`; loosen them",
        log,
    )

    log.say(f"{total:,} documents → {writer.documents:,} ({judging.summary()})")
    counts = {
        "sources": judging.counts,
        "documents": writer.documents,
        "text_bytes": writer.text_bytes,
    }
    return counts, judging.examples.by_reason()


class _Judging:
    """Judges batches of documents and counts what becomes of them, source by source."""

    def __init__(self, rules: Quality, seed: int, exact: bool) -> None:
        self.rules, self.new_texts = rules, NewTexts(exact)
        self.bounds = bounds_of(rules)
        self.counts: dict[str, SourceCounts] = {}
        self.examples = DroppedExamples(seed)

    def kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The documents that pass, those with dropped lines under their new text."""
        texts, sources = batch.column("text").to_pylist(), batch.column("source").to_pylist()
        languages = languages_of(batch)
        kept: list[int] = []
        changed: dict[int, str] = {}  # row → its new text

        for row, (text, source) in enumerate(zip(texts, sources, strict=True)):
            counts = self.counts.setdefault(
                source, {"read": 0, "kept": 0, "kept_bytes": 0, "changed": 0, "dropped": {}}
            )
            counts["read"] += 1

            left = drop_lines(text, self.rules)
            broken = (
                (NO_LINES, 0.0) if not left.strip() else judge(left, self.bounds, languages[row])
            )
            if broken is not None:
                rule, value = broken
                counts["dropped"][rule] = counts["dropped"].get(rule, 0) + 1
                self.examples.add(rule, batch, row, measured=round(value, 4))
                continue
            kept.append(row)
            if left is not text:
                changed[row] = left

        copies = self.new_texts.copies(changed)
        for row in sorted(copies):
            dropped = self.counts[sources[row]]["dropped"]
            dropped[COPY] = dropped.get(COPY, 0) + 1
            self.examples.add(COPY, batch, row)
        kept = [row for row in kept if row not in copies]

        result = with_texts(batch, texts, kept, changed)
        sizes = text_sizes(result.column("text")).tolist()
        for row, size in zip(kept, sizes, strict=True):
            counts = self.counts[sources[row]]
            counts["kept"] += 1
            counts["kept_bytes"] += size
            counts["changed"] += row in changed
        return result

    def summary(self) -> str:
        """What was dropped and changed, in one line."""
        dropped: Counter[str] = Counter()
        for counts in self.counts.values():
            dropped.update(counts["dropped"])

        reasons = [f"{rule} {count:,}" for rule, count in dropped.most_common()]
        changed = sum(counts["changed"] for counts in self.counts.values())
        return f"{', '.join(reasons) or 'nothing dropped'}; lines taken out of {changed:,}"
