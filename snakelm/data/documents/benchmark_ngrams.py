"""The n-grams of evaluation sets as hashes, with the set each is from: what `decontaminate`
searches for.

The sets are small beside the training text, so their rows go through Python one at a time: parquet
and JSONL alike become nested values, in which a dotted name reaches into objects and through lists.
Kept are 12 bytes an n-gram.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...config import Decontaminate
from ...errors import UserError
from ...parquet import BadFile
from ..reading.encodings import not_utf8, nul_problem
from ..reading.formats import FORMATS, file_format
from ..reading.records import columns_of, records
from ..reading.rows import Reading
from .shingles import shingle_hashes, words

__all__ = ["BenchmarkSet", "NgramIndex", "benchmark_sets", "ngram_indexes"]

BATCH_ROWS = 1024
MISSING = object()


@dataclass
class BenchmarkSet:
    """An evaluation file and the n-grams of its texts."""

    file: str
    texts: int = 0  # not empty
    short: int = 0  # with fewer words than an n-gram: searched for as one
    too_short: int = 0  # with fewer than `decontaminate.shortest`: not searched for
    ngrams: int = 0  # different ones
    hashes: dict[int, np.ndarray] = field(default_factory=dict)  # words → uint64, ascending, unique

    def counts(self) -> dict[str, int]:
        """For the manifest."""
        return {name: getattr(self, name) for name in ("texts", "short", "too_short", "ngrams")}


@dataclass
class NgramIndex:
    """All sets' n-grams of ``length`` words: ``hashes`` uint64 [m] ascending, ``sets`` int32 [m]
    the set of each.
    """

    length: int
    hashes: np.ndarray
    sets: np.ndarray

    def __post_init__(self) -> None:
        # A bitmap over the top bits of the hashes, 16 times as many bits as hashes: nearly every
        # n-gram of the training text ends there, after one memory access.
        bits = min(26, max(16, (16 * self.hashes.size).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._bitmap = np.zeros(1 << bits, bool)
        self._bitmap[self.hashes >> self._shift] = True

    def places(self, hashes: np.ndarray) -> np.ndarray:
        """Indices of those of ``hashes`` (uint64 [n]) that the index has: int64, ascending."""
        maybe = np.flatnonzero(self._bitmap[hashes >> self._shift])
        at = np.minimum(np.searchsorted(self.hashes, hashes[maybe]), self.hashes.size - 1)
        return maybe[self.hashes[at] == hashes[maybe]]

    def sets_of(self, value: np.uint64) -> list[int]:
        """The sets that have the hash ``value``."""
        first = int(np.searchsorted(self.hashes, value, "left"))
        last = int(np.searchsorted(self.hashes, value, "right"))
        return self.sets[first:last].tolist()


def benchmark_sets(files: Iterable[Path], rules: Decontaminate) -> list[BenchmarkSet]:
    """Reads the files; UserError where one is damaged, lacks the columns, or has no text in
    them.
    """
    return [_read(file, rules) for file in files]


def ngram_indexes(sets: list[BenchmarkSet]) -> list[NgramIndex]:
    """An index for each length that occurs, the full n-grams first."""
    lengths = sorted({length for one in sets for length in one.hashes}, reverse=True)
    indexes = []
    for length in lengths:
        parts = [one.hashes.get(length, np.zeros(0, np.uint64)) for one in sets]
        hashes = np.concatenate(parts)
        numbers = np.repeat(np.arange(len(sets), dtype=np.int32), [part.size for part in parts])
        order = np.argsort(hashes, kind="stable")
        indexes.append(NgramIndex(length, hashes[order], numbers[order]))
    return indexes


def _read(file: Path, rules: Decontaminate) -> BenchmarkSet:
    made = BenchmarkSet(file.as_posix())
    parts: dict[int, list[np.ndarray]] = {}
    waiting: list[str] = []
    for text in _texts(file, rules.text):
        waiting.append(text)
        if len(waiting) >= BATCH_ROWS:
            _add(made, parts, waiting, rules)
            waiting = []
    _add(made, parts, waiting, rules)

    if not made.texts:
        raise UserError(
            f"{file}: no text in {', '.join(rules.text)}; fix decontaminate.text or take the file "
            "out"
        )
    made.hashes = {length: np.unique(np.concatenate(some)) for length, some in parts.items()}
    made.ngrams = sum(some.size for some in made.hashes.values())
    return made


def _add(
    made: BenchmarkSet, parts: dict[int, list[np.ndarray]], texts: list[str], rules: Decontaminate
) -> None:
    hashes, offsets = shingle_hashes(pa.array(texts, pa.large_string()), rules.ngram)
    made.texts += len(texts)

    # A text with one shingle may be shorter than an n-gram; one with more can't be. Of those that
    # are, the one hash is of all their words, and goes under its own length.
    full = np.ones(hashes.size, bool)
    for i in np.flatnonzero(np.diff(offsets) <= 1).tolist():
        count = len(words(texts[i]))
        if count >= rules.ngram:
            continue

        full[offsets[i] : offsets[i + 1]] = False
        if count < rules.shortest:
            made.too_short += 1
        else:
            made.short += 1
            parts.setdefault(count, []).append(hashes[offsets[i] : offsets[i + 1]])

    if full.any():
        parts.setdefault(rules.ngram, []).append(np.unique(hashes[full]))


def _texts(file: Path, names: list[str]) -> Iterator[str]:
    """The texts in the columns ``names`` of a file, row by row; of a text file, all of it."""
    kind = file_format(file)
    if FORMATS[kind].records is None:
        yield from _whole_texts(file, kind)
        return

    # Only the columns named, or whose first part is, are read.
    heads = {*names, *(name.split(".")[0] for name in names)}
    columns = set(columns_of(file, kind))  # and more as they are met: JSON rows may differ
    there = False
    for place, row, problem in records(file, kind, {head: head for head in heads}):
        if row is None:
            raise BadFile(f"{place}: {problem}; an evaluation set must be complete", file)

        columns.update(row)
        for name in names:
            value = row.get(name, MISSING)
            leaves = _leaves(row, name.split(".")) if value is MISSING else _leaves(value, [])
            try:
                reached = list(leaves)
            except RecursionError:
                raise BadFile(f"{place}: {name} is nested too deeply", file) from None

            for text in reached:
                there = True
                if text is not None and not isinstance(text, str):
                    raise BadFile(
                        f"{name} holds a {type(text).__name__}, expected text; fix "
                        "decontaminate.text",
                        file,
                    )
                if text and text.strip():
                    yield text

    if columns and not there:
        raise BadFile(
            f"none of the columns {', '.join(names)}; columns are "
            f"{', '.join(sorted(columns))}; say which hold the text: decontaminate.text",
            file,
        )


def _whole_texts(file: Path, kind: str) -> Iterator[str]:
    for batch in FORMATS[kind].texts(file, Reading()):
        for i, data in enumerate(batch.texts.to_pylist()):
            problem = batch.problems.get(i) or not_utf8(data) or nul_problem(data)
            if problem:
                raise BadFile(f"{problem}; an evaluation set must be complete", file)
            text = data.decode("utf-8")
            if text.strip():
                yield text


def _leaves(value: Any, parts: list[str]) -> Iterator[Any]:
    """What a dotted name leads to; through lists, to each item's."""
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item, parts)
    elif not parts:
        yield value
    elif isinstance(value, dict) and parts[0] in value:
        yield from _leaves(value[parts[0]], parts[1:])
