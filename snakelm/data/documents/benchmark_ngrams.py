"""The n-grams of evaluation sets as hashes, and where each is from: what `decontaminate` looks for.

The sets are small beside the training text, so their rows go through Python, one at a time: parquet
and JSONL alike become nested values, in which a dotted name reaches into objects and through lists.
Kept are 12 bytes an n-gram.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...config import Decontaminate
from ...errors import UserError
from ..reading.lines import BOM, open_lines, text_rows
from ..reading.parquet_text import BadFile, open_parquet
from ..reading.readers import file_format
from .shingles import shingle_hashes, words

__all__ = ["EvaluationSet", "Wanted", "evaluation_sets", "wanted"]

BATCH_ROWS = 1024
MISSING = object()


@dataclass
class EvaluationSet:
    """A file and what was found in it."""

    file: str
    texts: int = 0  # not empty
    short: int = 0  # fewer words than an n-gram, looked for whole
    too_short: int = 0  # fewer than `decontaminate.shortest`, not looked for
    ngrams: int = 0  # different ones
    hashes: dict[int, np.ndarray] = field(
        default_factory=dict
    )  # words in a row → uint64, ascending, each once

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("texts", "short", "too_short", "ngrams")}


@dataclass
class Wanted:
    """All sets' hashes of ``length`` words: ``hashes`` uint64 [m] ascending, ``sets`` int32 [m] the
    set of each.
    """

    length: int
    hashes: np.ndarray
    sets: np.ndarray

    def __post_init__(self) -> None:
        bits = min(26, max(16, (16 * self.hashes.size).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._bitmap = np.zeros(
            1 << bits, bool
        )  # nearly all other n-grams end here, at one access to memory
        self._bitmap[self.hashes >> self._shift] = True

    def places(self, hashes: np.ndarray) -> np.ndarray:
        """Where in ``hashes`` one stands that is wanted: int64, ascending."""
        maybe = np.flatnonzero(self._bitmap[hashes >> self._shift])
        at = np.minimum(np.searchsorted(self.hashes, hashes[maybe]), self.hashes.size - 1)
        return maybe[self.hashes[at] == hashes[maybe]]

    def sets_of(self, value: np.uint64) -> list[int]:
        """The sets that have the hash ``value``."""
        first, last = (int(np.searchsorted(self.hashes, value, side)) for side in ("left", "right"))
        return self.sets[first:last].tolist()


def evaluation_sets(files: Iterable[Path], rules: Decontaminate) -> list[EvaluationSet]:
    """Reads the files; UserError where one is damaged, has none of the columns, or no text in
    them.
    """
    return [_read(file, rules) for file in files]


def wanted(sets: list[EvaluationSet]) -> list[Wanted]:
    """All that is looked for, by length, the n-grams first."""
    lengths = sorted({length for one in sets for length in one.hashes}, reverse=True)
    found = []
    for length in lengths:
        parts = [one.hashes.get(length, np.zeros(0, np.uint64)) for one in sets]
        hashes = np.concatenate(parts)
        numbers = np.repeat(np.arange(len(sets), dtype=np.int32), [part.size for part in parts])
        order = np.argsort(hashes, kind="stable")
        found.append(Wanted(length, hashes[order], numbers[order]))
    return found


def _read(file: Path, rules: Decontaminate) -> EvaluationSet:
    made = EvaluationSet(file.as_posix())
    parts: dict[int, list[np.ndarray]] = {}
    waiting: list[str] = []
    try:
        for text in _texts(file, rules.text):
            waiting.append(text)
            if len(waiting) >= BATCH_ROWS:
                _add(made, parts, waiting, rules)
                waiting = []
    except BadFile as bad:
        raise UserError(f"{file}: {bad}") from None
    _add(made, parts, waiting, rules)
    if not made.texts:
        raise UserError(
            f"{file}: no text in {', '.join(rules.text)}; mend decontaminate.text or take the file out"
        )
    made.hashes = {length: np.unique(np.concatenate(some)) for length, some in parts.items()}
    made.ngrams = sum(some.size for some in made.hashes.values())
    return made


def _add(
    made: EvaluationSet, parts: dict[int, list[np.ndarray]], texts: list[str], rules: Decontaminate
) -> None:
    hashes, offsets = shingle_hashes(pa.array(texts, pa.large_string()), rules.ngram)
    made.texts += len(texts)
    single = np.flatnonzero(np.diff(offsets) <= 1).tolist()  # one n-gram, fewer words, or none
    whole = np.ones(hashes.size, bool)
    for i in single:
        count = len(words(texts[i]))
        if count >= rules.ngram:
            continue
        whole[offsets[i] : offsets[i + 1]] = False
        if count < rules.shortest:
            made.too_short += 1
        else:
            made.short += 1
            parts.setdefault(count, []).append(hashes[offsets[i] : offsets[i + 1]])
    if whole.any():
        parts.setdefault(rules.ngram, []).append(np.unique(hashes[whole]))


def _texts(file: Path, names: list[str]) -> Iterator[str]:
    """The texts in the columns ``names`` of a file, row by row; of a text file, all of it."""
    kind = file_format(file)
    if kind == "text":
        for rows in text_rows(file):
            yield from filter(str.strip, (text.decode("utf-8", "replace") for text in rows.texts))
        return
    met, there = set(), set()
    for row in _parquet_rows(file, names) if kind == "parquet" else _json_rows(file):
        met.update(row)
        for name in names:
            value = row.get(name, MISSING)
            found = list(_leaves(row, name.split(".")) if value is MISSING else _leaves(value, []))
            if found:
                there.add(name)
            for text in found:
                if text is not None and not isinstance(text, str):
                    raise BadFile(
                        f"{name} holds a {type(text).__name__}, expected text; mend decontaminate.text"
                    )
                if text and text.strip():
                    yield text
    if met and not there:
        raise BadFile(
            f"none of the columns {', '.join(names)}; columns are {', '.join(sorted(map(str, met)))}; "
            "say which hold the text: decontaminate.text"
        )


def _leaves(value: Any, parts: list[str]) -> Iterator[Any]:
    """What a dotted name leads to; through lists, to each item's."""
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item, parts)
    elif not parts:
        yield value
    elif isinstance(value, dict) and parts[0] in value:
        yield from _leaves(value[parts[0]], parts[1:])


def _parquet_rows(file: Path, names: list[str]) -> Iterator[dict[str, Any]]:
    """Rows as dicts; of columns that are not asked for only the names."""
    with open_parquet(file) as opened:
        columns = opened.schema_arrow.names
        asked = [c for c in columns if c in names or c in {name.split(".")[0] for name in names}]
        if not asked:
            yield dict.fromkeys(columns)
            return
        try:
            for batch in opened.iter_batches(BATCH_ROWS, columns=asked, use_threads=False):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise BadFile(
                f"damaged ({' '.join(str(error).split())[:200]}); fetch it again"
            ) from None


def _json_rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with open_lines(file) as stream:
            for number, line in enumerate(stream, 1):
                text = (line.removeprefix(BOM) if number == 1 else line).strip()
                if not text:
                    continue
                try:
                    row = json.loads(text)
                except (ValueError, RecursionError):
                    raise BadFile(
                        f"line {number}: not JSON; an evaluation set must be whole"
                    ) from None
                if not isinstance(row, dict):
                    raise BadFile(
                        f"line {number}: a JSON {type(row).__name__}, expected an object a line"
                    )
                yield row
    except OSError as error:
        raise BadFile(
            f"broken off or damaged ({' '.join(str(error).split())}); fetch it again"
        ) from None
