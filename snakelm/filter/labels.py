"""Labelled texts: a few examples of what to keep and what to drop, ours or the user's, from
JSONL, CSV or parquet.

Columns: text; label, `academic` or `other`; group (optional), the field or kind that a text stands
for, a note to whoever keeps the file. Which of them only measure is chosen by hash within each
class, so it depends on the texts and the seed, not on their order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.reading.formats import FORMATS
from ..data.reading.records import records
from ..data.split import document_ids, mixed
from ..errors import UserError
from ..parquet import open_parquet
from ..user_paths import home
from ..workflow.code_digest import ROOT

__all__ = ["CLASSES", "Labels", "label_files", "read_labels"]

CLASSES = ("other", "academic")  # the index is the class: 1 is kept
COLUMNS = ("text", "label", "group")
FIX = "; fix the file, or name another in classifier.labels"

Row = tuple[str, dict[str, Any]]  # where it is from, and its columns


@dataclass(frozen=True)
class Labels:
    """Texts, whether each is academic (bool [n]), and its group (empty where none was given).
    ``copies``: rows left out, whose text was there under the same label: one side of a split would
    measure what the other learned.
    """

    texts: list[str]
    academic: np.ndarray
    groups: list[str]
    copies: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: np.ndarray) -> "Labels":
        """The texts at ``places`` (int64 [m])."""
        return Labels(
            [self.texts[i] for i in places], self.academic[places], [self.groups[i] for i in places]
        )

    def split(self, held_out: float, seed: int) -> tuple["Labels", "Labels"]:
        """(to train on, to measure on): of each class the share ``held_out`` with the smallest
        hashes, at least one.
        """
        order = mixed(document_ids(text.encode() for text in self.texts), seed, "labels")
        measured = np.zeros(len(self), bool)
        for academic in (False, True):
            places = np.flatnonzero(self.academic == academic)
            count = min(len(places) - 1, max(1, round(held_out * len(places))))
            measured[places[np.argsort(order[places], kind="stable")[:count]]] = True
        return self.take(np.flatnonzero(~measured)), self.take(np.flatnonzero(measured))


def label_files(named: str | Sequence[str]) -> list[str]:
    """The files of classifier.labels; where nothing is at a path, the file of that name that comes
    with the project.
    """
    paths = [named] if isinstance(named, str) else named
    paths = [home(path).as_posix() for path in paths]
    return [
        path if Path(path).exists() or not (ROOT / path).is_file() else (ROOT / path).as_posix()
        for path in paths
    ]


def read_labels(named: str | Sequence[str]) -> Labels:
    """The labels of JSONL, CSV or parquet files together; UserError for what can't be trained on,
    naming the row.
    """
    files, copies = label_files(named), 0
    texts: dict[str, tuple[str, str]] = {}
    rows: list[dict[str, Any]] = []
    for file in files:
        for where, row in _rows(file):
            text, label = _checked(where, row)
            if text not in texts:
                texts[text] = (where, label)
                rows.append(row)
                continue

            first, other = texts[text]
            if other != label:
                raise UserError(f"{where}: a text under both labels, {other} in {first}{FIX}")
            copies += 1

    labels = [row["label"] for row in rows]
    counts = {name: labels.count(name) for name in CLASSES}
    if min(counts.values()) < 2:
        found = " and ".join(f"{count} {name}" for name, count in counts.items())
        raise UserError(
            f"{', '.join(files)}: found {found}; both labels are needed, at least 2 different "
            f"texts each (32 are better){FIX}"
        )

    academic = np.array([label == CLASSES[1] for label in labels])
    groups = [str(row.get("group") or "") for row in rows]
    return Labels([row["text"] for row in rows], academic, groups, copies)


def _checked(where: str, row: dict[str, Any]) -> tuple[str, str]:
    """The row's text and label."""
    text, label = row.get("text"), row.get("label")
    if text is None:
        raise UserError(f"{where}: found no text; each row needs some{FIX}")
    if not isinstance(text, str):
        raise UserError(f"{where}: found {text!r} as a text; each row needs some{FIX}")
    if not text.strip():
        raise UserError(f"{where}: found an empty text; each row needs some{FIX}")

    if label not in CLASSES:
        allowed = " and ".join(reversed(CLASSES))
        raise UserError(f"{where}: found label {label!r}; allowed are {allowed}{FIX}")
    return text, label


def _rows(path: str) -> Iterator[Row]:
    if not Path(path).is_file():
        raise _missing(path)
    tables = ("parquet", "csv")
    kinds = [kind for kind in tables if path.lower().endswith(FORMATS[kind].suffixes)]
    kind = kinds[0] if kinds else "jsonl"
    if kind == "parquet":  # of which all rows have the columns, or none has
        open_parquet(path, columns=COLUMNS[:2], remedy=FIX.removeprefix("; ")).close()

    for place, row, problem in records(Path(path), kind, {name: name for name in COLUMNS}):
        where = f"{path} {place}"
        if row is None:
            raise UserError(f'{where}: {problem}; expected {{"text": …, "label": …}}{FIX}')
        yield where, row


def _missing(path: str) -> UserError:
    return UserError(f"{path}: no such file; classifier.labels names the labelled texts")
