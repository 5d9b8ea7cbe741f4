"""What the reader of a format delivers, whatever the format: texts in batches, or rows as mappings.

A new format is three or five functions of these types and an entry in `formats.FORMATS`.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

__all__ = ["Glance", "Record", "TextBatch"]

# (row, None) for a sound row, (None, what is wrong) for a bad one.
Record = tuple[dict[str, Any] | None, str | None]


@dataclass(frozen=True)
class TextBatch:
    """Consecutive rows of a file.

    ``texts``: large_binary, null where the row has no text. They are bytes because files do hold
    strings that aren't UTF-8, and the reader above decides what becomes of those. ``problems``: a
    row's index in here → what is wrong with it. ``origin``: the columns that came along, if any.
    """

    texts: pa.Array
    problems: dict[int, str] = field(default_factory=dict)
    origin: pa.RecordBatch | None = None


class Glance(NamedTuple):
    """What a file says of itself before it is read; None where only reading would tell."""

    rows: int | None
    nulls: int | None
    text_bytes: int
