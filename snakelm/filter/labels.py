"""Labelled texts: a few examples of what to keep and what to drop, ours or a person's, from JSONL
or parquet.

Columns: text; label, `academic` or `other`; group (optional), the field or kind that a text stands
for. Which of them only measure is chosen by hash within each class, so it depends on the texts and
the seed, not on their order.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.parquet import open_parquet
from ..data.split import document_ids, mixed
from ..errors import UserError
from ..workflow.code_digest import ROOT

__all__ = ["CLASSES", "Labels", "label_files", "read_labels"]

CLASSES = ("other", "academic")  # the index is the class: 1 is kept
NEXT = "; mend the file, or name another in classifier.labels"


@dataclass(frozen=True)
class Labels:
    """Texts, whether each is academic (bool [n]), and its group (empty where none was given)."""

    texts: list[str]
    academic: np.ndarray
    groups: list[str]

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
        for kind in (False, True):
            places = np.flatnonzero(self.academic == kind)
            count = min(len(places) - 1, max(1, round(held_out * len(places))))
            measured[places[np.argsort(order[places], kind="stable")[:count]]] = True
        return self.take(np.flatnonzero(~measured)), self.take(np.flatnonzero(measured))


def label_files(named: str | Sequence[str]) -> list[str]:
    """The files of classifier.labels; where nothing is at a path, the file of that name that comes
    with the project.
    """
    paths = [named] if isinstance(named, str) else named
    there = (Path(path).exists() or not (ROOT / path).is_file() for path in paths)
    return [
        path if here else (ROOT / path).as_posix() for path, here in zip(paths, there, strict=True)
    ]


def read_labels(named: str | Sequence[str]) -> Labels:
    """The labels of JSONL or parquet files together; UserError for what can't be trained on, naming
    the row.
    """
    files = label_files(named)
    rows = [
        row
        for file in files
        for row in (_parquet_rows if file.endswith(".parquet") else _jsonl_rows)(file)
    ]
    seen: dict[str, str] = {}
    for where, row in rows:
        _check(where, row)
        if seen.setdefault(row["text"], row["label"]) != row["label"]:
            raise UserError(f"{where}: a text that stands under both labels{NEXT}")
    labels = [row["label"] for _, row in rows]
    counts = {name: labels.count(name) for name in CLASSES}
    if min(counts.values()) < 2:
        found = " and ".join(f"{count} {name}" for name, count in counts.items())
        raise UserError(
            f"{', '.join(files)}: found {found}; both labels are needed, at least 2 texts each (32 are better){NEXT}"
        )
    groups = [str(row.get("group") or "") for _, row in rows]
    return Labels(
        [row["text"] for _, row in rows], np.array([name == CLASSES[1] for name in labels]), groups
    )


def _check(where: str, row: dict[str, Any]) -> None:
    text, label = row.get("text"), row.get("label")
    if not isinstance(text, str) or not text.strip():
        what = (
            "no text"
            if text is None
            else "an empty text"
            if isinstance(text, str)
            else f"{text!r} as a text"
        )
        raise UserError(f"{where}: found {what}; each row needs some{NEXT}")
    if label not in CLASSES:
        raise UserError(
            f"{where}: found label {label!r}; allowed are {' and '.join(reversed(CLASSES))}{NEXT}"
        )


def _jsonl_rows(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; classifier.labels names the labelled texts"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; expected JSONL or .parquet{NEXT}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise UserError(f"{path} line {number}: not JSON{NEXT}") from None
        if not isinstance(row, dict):
            raise UserError(
                f'{path} line {number}: found {type(row).__name__}, expected {{"text": …, "label": …}}{NEXT}'
            )
        yield f"{path} line {number}", row


def _parquet_rows(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open_parquet(path, columns=["text", "label"], remedy=NEXT.removeprefix("; ")) as file:
        names = [name for name in ("text", "label", "group") if name in file.schema.names]
        rows = [row for batch in file.batches(names) for row in batch.to_pylist()]

    for number, row in enumerate(rows):
        yield f"{path} row {number}", row
