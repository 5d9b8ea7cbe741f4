"""Rules on the text alone, of the kind that Gopher and C4 dropped web pages by; documents stream
past, one at a time.

Two rules take lines out, and the document gets the id of its new text. The others measure what is
left; the first that finds its measure out of bounds, in the order of the configuration, is the one
that the document counts under. A word is what stands between white space, as in the papers:
datatrove and others take a tokenizer's words, where each comma is one, and so find a fifth of plain
prose to be no words (docs/EXPERIMENTS.md has both side by side).

A text beyond four million characters is measured by its first four million, for the memory's sake.
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...config import Quality
from ...errors import UserError
from ...log import Log
from ..split import document_ids
from .dropped_examples import Examples
from .table import SCHEMA, DocumentWriter, open_documents, read_documents, text_sizes

__all__ = ["MEASURES", "Text", "drop_lines", "judge", "quality"]

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
BULLETS = ("•", "-", "*", "‣", "·")
ELLIPSES = ("...", "…")
TERMINAL = (".", "!", "?", '"', "'", "”", "’", "»", "。", "！", "？")
SHORT_LINE = 3  # words; C4
NGRAM = 5
MEASURED = 4_000_000  # characters

_SENTENCE_END = re.compile(r"""(?:[.!?]["'”’)\]]*[^\S\n]+|[。！？])(?=\S)""")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_BLANK_LINES = re.compile(r"\n{3,}")


class Text:
    """A document's text and what is counted in it, each when first asked for."""

    def __init__(self, text: str) -> None:
        self.text = text[:MEASURED]

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    def mean_word(self) -> float:
        return sum(map(len, self.words)) / max(1, len(self.words))

    def symbols(self) -> float:
        most = max(self.text.count("#"), sum(map(self.text.count, ELLIPSES)))
        return most / max(1, len(self.words))

    def bullets(self) -> float:
        return sum(line.startswith(BULLETS) for line in self.lines) / max(1, len(self.lines))

    def ellipses(self) -> float:
        return sum(line.endswith(ELLIPSES) for line in self.lines) / max(1, len(self.lines))

    def alphabetic(self) -> float:
        return sum(w.isalpha() or any(map(str.isalpha, w)) for w in self.words) / max(
            1, len(self.words)
        )

    def stop_words(self) -> int:
        return len(STOP_WORDS.intersection(map(str.lower, self.words)))

    def duplicate_lines(self) -> float:
        return _repeated(self.lines)

    def duplicate_paragraphs(self) -> float:
        return _repeated([part for part in map(str.strip, _PARAGRAPH_END.split(self.text)) if part])

    def top_pair(self) -> float:
        """Share of the characters in the commonest pair of words; 0 when no pair occurs twice."""
        pairs = Counter(zip(self.words, self.words[1:], strict=False)).most_common(1)
        if not pairs or pairs[0][1] < 2:
            return 0.0
        (first, second), times = pairs[0]
        return (len(first) + len(second) + 1) * times / len(self.text)

    def duplicate_ngrams(self) -> float:
        """Share of the characters in n-grams that came before; an n-gram found so is passed over
        whole.
        """
        grams = list(zip(*(self.words[i:] for i in range(NGRAM)), strict=False))
        if len(set(grams)) == len(grams):
            return 0.0
        seen, repeated, place = set(), 0, 0
        while place < len(grams):
            if grams[place] in seen:
                repeated += sum(map(len, grams[place]))
                place += NGRAM
            else:
                seen.add(grams[place])
                place += 1
        return repeated / len(self.text)

    def sentences(self) -> int:
        """Those a line has by its full stops, and the last or only one of each line."""
        return len(self.lines) + len(_SENTENCE_END.findall(self.text))


def _repeated(parts: list[str]) -> float:
    return 1 - len(set(parts)) / len(parts) if parts else 0.0


# Key of the configuration → what it bounds. `min_` is the least allowed, any other the most; true
# allows none.
MEASURES: dict[str, Callable[[Text], float]] = {
    "min_words": lambda text: len(text.words),
    "max_words": lambda text: len(text.words),
    "min_word_length": Text.mean_word,
    "max_word_length": Text.mean_word,
    "max_symbol_ratio": Text.symbols,
    "max_bullet_lines": Text.bullets,
    "max_ellipsis_lines": Text.ellipses,
    "min_alphabetic_words": Text.alphabetic,
    "min_stop_words": Text.stop_words,
    "max_duplicate_lines": Text.duplicate_lines,
    "max_duplicate_paragraphs": Text.duplicate_paragraphs,
    "max_top_ngram": Text.top_pair,
    "max_duplicate_ngrams": Text.duplicate_ngrams,
    "min_sentences": Text.sentences,
    "no_curly_bracket": lambda text: text.text.count("{"),
    "no_lorem_ipsum": lambda text: text.text.lower().count("lorem ipsum"),
}
NO_LINES = "no lines left"


def drop_lines(text: str, rules: Quality) -> str:
    """The text without the lines that the two rules on lines drop; as it was when they drop
    none.
    """
    if not (rules.terminal_punctuation or rules.no_javascript):
        return text
    lines = text.split("\n")
    kept = [line for line in lines if not line.strip() or _line_stays(line, rules)]
    return (
        text if len(kept) == len(lines) else _BLANK_LINES.sub("\n\n", "\n".join(kept)).strip("\n")
    )


def _line_stays(line: str, rules: Quality) -> bool:
    if rules.no_javascript and "javascript" in line.lower():
        return False
    if not rules.terminal_punctuation:
        return True
    stripped = line.rstrip()
    ends = stripped.endswith(TERMINAL) and not stripped.endswith(ELLIPSES)
    return ends and len(stripped.split(None, SHORT_LINE)) >= SHORT_LINE


def judge(text: str, bounds: dict[str, float]) -> tuple[str, float] | None:
    """(the first rule that the text breaks, its measure), or None. ``bounds``: key of MEASURES →
    bound.
    """
    measured = Text(text)
    for name, bound in bounds.items():
        value = MEASURES[name](measured)
        if value < bound if name.startswith("min_") else value > bound:
            return name, value
    return None


def quality(
    documents: Path, output: Path, rules: Quality, seed: int, log: Log
) -> tuple[dict[str, Any], dict]:
    """Writes the documents that pass to ``output``; gives the counts per source and rule, and
    examples per rule.
    """
    bounds = {
        name: 0 if value is True else value
        for name, value in rules.model_dump().items()
        if value and name in MEASURES
    }
    counts: dict[str, dict[str, Any]] = {}
    examples = Examples(seed)
    with open_documents(documents) as file:
        total = file.metadata.num_rows
    with log.progress(total, "documents") as bar, DocumentWriter(output) as writer:
        done = 0
        for batch in read_documents(documents):
            kept = _judged(batch, rules, bounds, counts, examples)
            writer.append(kept)
            done += batch.num_rows
            bar.update(done, f"{writer.documents:,} kept")
        if not writer.documents:
            raise UserError(
                f"{documents}: no document of {total:,} passes the rules of `quality`; loosen them"
            )
    dropped = Counter()
    for source in counts.values():
        dropped.update(source["dropped"])
    why = (
        ", ".join(f"{name} {count:,}" for name, count in dropped.most_common()) or "nothing dropped"
    )
    changed = sum(source["changed"] for source in counts.values())
    log.say(f"{total:,} documents → {writer.documents:,} ({why}; lines taken out of {changed:,})")
    found = {"sources": counts, "documents": writer.documents, "text_bytes": writer.text_bytes}
    return found, examples.found()


def _judged(
    batch: pa.RecordBatch,
    rules: Quality,
    bounds: dict[str, float],
    counts: dict,
    examples: Examples,
) -> pa.RecordBatch:
    """What is kept of ``batch``; adds to ``counts`` and ``examples``."""
    texts, sources = batch.column("text").to_pylist(), batch.column("source").to_pylist()
    kept, changed = [], {}
    for row, (text, source) in enumerate(zip(texts, sources, strict=True)):
        mine = counts.setdefault(
            source, {"read": 0, "kept": 0, "kept_bytes": 0, "changed": 0, "dropped": {}}
        )
        mine["read"] += 1
        left = drop_lines(text, rules)
        broken = (NO_LINES, 0.0) if not left.strip() else judge(left, bounds)
        if broken is None:
            kept.append(row)
            mine["kept"] += 1
            mine["changed"] += left is not text
            if left is not text:
                changed[row] = left
            continue
        mine["dropped"][broken[0]] = mine["dropped"].get(broken[0], 0) + 1
        examples.add(broken[0], batch, row, measured=round(broken[1], 4))
    result = _taken(batch, texts, kept, changed)
    sizes = text_sizes(result.column("text")).tolist()
    for row, size in zip(kept, sizes, strict=True):
        counts[sources[row]]["kept_bytes"] += size
    return result


def _taken(
    batch: pa.RecordBatch, texts: list[str], kept: list[int], changed: dict[int, str]
) -> pa.RecordBatch:
    """The rows ``kept`` of the batch; those ``changed`` with their new text and its id."""
    result = batch if len(kept) == batch.num_rows else batch.take(pa.array(kept, pa.int64()))
    if not changed:
        return result
    new = pa.array([changed.get(row, texts[row]) for row in kept], pa.large_string())
    ids = result.column("id").to_numpy().copy()
    places = [place for place, row in enumerate(kept) if row in changed]
    ids[places] = document_ids(changed[kept[place]].encode() for place in places)
    columns = {name: result.column(name) for name in SCHEMA.names} | {
        "text": new,
        "id": pa.array(ids),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)
