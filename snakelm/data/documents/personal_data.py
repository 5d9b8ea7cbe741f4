"""Personal data in documents: counted, masked or the document dropped; documents stream past.

What is found is never written: not to the log, the manifest, the report or the examples, which
give places instead of texts. Masks are words, the same for everything of a kind, so that a model
learns that an address stands there and none that it could repeat.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...config import PersonalData
from ...errors import UserError
from ...log import Log
from .changed_texts import COPY, NewTexts, with_texts
from .dropped_examples import DroppedExamples
from .personal_rules import RULES, Found, find
from .table import text_sizes
from .write_kept import write_kept

__all__ = ["MASKS", "check_personal_data", "personal_data"]

MASKS = {kind: f"<{kind.upper()}>" for kind in RULES}
REASON = "personal data"

SourceCounts = dict[str, Any]  # read, kept, kept_bytes, changed; dropped, found, excepted: by kind


def check_personal_data(rules: PersonalData) -> None:
    """UserError where the package for telephone numbers is missing, a region is unknown, or there
    is nothing to look for.
    """
    if not rules.kinds:
        raise UserError(
            "personal_data.kinds: found none; name some, or set personal_data.action: off"
        )

    if "phone" not in rules.kinds:
        return
    try:
        from phonenumbers import SUPPORTED_REGIONS
    except ImportError:
        raise UserError(
            "personal_data: telephone numbers need phonenumberslite, which is not installed; "
            "pip install -r requirements-checks.txt (or leave phone out of personal_data.kinds)"
        ) from None

    for region in rules.regions:
        if region not in SUPPORTED_REGIONS:
            raise UserError(
                f"personal_data.regions: found {region!r}, allowed are ISO 3166's two capital "
                "letters of a country, such as IT, US, RU"
            )


def personal_data(
    documents: Path, output: Path, rules: PersonalData, seed: int, log: Log, exact: bool = True
) -> tuple[dict[str, Any], dict[str, list]]:
    """Writes the documents as ``rules`` says to ``output``; returns the counts per source and kind,
    and where a few of each kind are. ``exact``: of documents that masks make equal the first stays.
    """
    check_personal_data(rules)
    looking = _Looking(rules, seed, exact)
    total, writer = write_kept(
        documents,
        output,
        looking.kept,
        lambda total: (
            f"all {total:,} documents hold personal data; set personal_data.action: mask, or fewer "
            "kinds"
        ),
        log,
    )

    log.say(f"{total:,} documents → {writer.documents:,} ({looking.summary()})")
    counts = {
        "action": rules.action,
        "sources": looking.counts,
        "documents": writer.documents,
        "text_bytes": writer.text_bytes,
    }
    return counts, looking.places.by_reason()


class _Looking:
    """Looks through batches of documents, and counts what it finds by source and kind."""

    def __init__(self, rules: PersonalData, seed: int, exact: bool) -> None:
        self.rules, self.new_texts = rules, NewTexts(exact)
        self.counts: dict[str, SourceCounts] = {}
        self.places = DroppedExamples(seed, shown=0)

    def kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The documents that stay, masked where they are to be."""
        texts, sources = batch.column("text").to_pylist(), batch.column("source").to_pylist()
        kept: list[int] = []
        changed: dict[int, str] = {}  # row → its new text

        for row, (text, source) in enumerate(zip(texts, sources, strict=True)):
            counts = self._counts_of(source)
            counts["read"] += 1
            found = self._count(
                find(text, self.rules.kinds, self.rules.regions), counts, batch, row
            )

            if found and self.rules.action == "drop":
                _add(counts["dropped"], REASON)
                continue
            kept.append(row)
            if found and self.rules.action == "mask":
                changed[row] = _masked(text, found)

        copies = self.new_texts.copies(changed)
        for row in copies:
            _add(self.counts[sources[row]]["dropped"], COPY)
        kept = [row for row in kept if row not in copies]

        result = with_texts(batch, texts, kept, changed)
        sizes = text_sizes(result.column("text")).tolist()
        for row, size in zip(kept, sizes, strict=True):
            counts = self.counts[sources[row]]
            counts["kept"] += 1
            counts["kept_bytes"] += size
            counts["changed"] += row in changed
        return result

    def _counts_of(self, source: str) -> SourceCounts:
        empty = {"read": 0, "kept": 0, "kept_bytes": 0, "changed": 0}
        return self.counts.setdefault(
            source, {**empty, "dropped": {}, "found": {}, "documents_with": {}, "excepted": {}}
        )

    def _count(
        self, found: list[Found], counts: SourceCounts, batch: pa.RecordBatch, row: int
    ) -> list[Found]:
        """Counts what was found; gives what of it isn't excepted."""
        excepting = self.rules.documentation == "except"
        theirs = [one for one in found if not (excepting and one.nobodys)]
        excepted = Counter(one.kind for one in found if excepting and one.nobodys)
        kinds = Counter(one.kind for one in theirs)

        for name, new in (("found", kinds), ("excepted", excepted)):
            for kind, count in new.items():
                counts[name][kind] = counts[name].get(kind, 0) + count
        for kind, count in kinds.items():
            counts["documents_with"][kind] = counts["documents_with"].get(kind, 0) + 1
            self.places.add(kind, batch, row, found=count)
        return theirs

    def summary(self) -> str:
        """Places found by kind, in one line."""
        found: Counter[str] = Counter()
        excepted = 0
        for counts in self.counts.values():
            found.update(counts["found"])
            excepted += sum(counts["excepted"].values())

        parts = ", ".join(f"{kind} {count:,}" for kind, count in found.most_common())
        left = f"; {excepted:,} of documentation left alone" if excepted else ""
        copies = sum(counts["dropped"].get(COPY, 0) for counts in self.counts.values())
        equal = f"; {copies:,} dropped, equal to others once masked" if copies else ""
        return f"{self.rules.action}: {parts or 'nothing found'}{left}{equal}"


def _add(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _masked(text: str, found: list[Found]) -> str:
    parts, end = [], 0
    for one in found:
        parts += [text[end : one.start], MASKS[one.kind]]
        end = one.end
    return "".join([*parts, text[end:]])
