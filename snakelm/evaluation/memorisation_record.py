"""memorisation.json: what models have by heart of some documents. It says where a document is from,
and nothing of what it says.
"""

import math
from pathlib import Path

from ..json_files import read_json
from ..json_record import JsonRecord
from .records import Interval

__all__ = ["AskedDocument", "MemorisationRecord", "Memory", "ModelMemory", "read_memorisation"]


class AskedDocument(JsonRecord):
    """A document that is asked for. One that was ``held_out`` was in no training text; one that is
    neither that nor ``trained`` on was forgotten, dropped or changed before this run's was made.
    """

    id: str  # 16 hex digits
    source: str
    file: str | None
    row: int | None
    bytes: int
    held_out: bool
    trained: bool


class Memory(JsonRecord):
    """What one model has of one document. Reproduction is None where the document is too short to
    be asked for a continuation, bits per byte are of its beginning.
    """

    places: int
    exact: int | None  # continuations that are the document's, to the token
    near: int | None  # those that are nearly, the exact ones among them
    similarity: float | None  # mean over places
    bits_per_byte: float
    exposure: float  # bits


class ModelMemory(JsonRecord):
    """One model: of each document, and over those that it was trained on."""

    name: str
    documents: list[Memory]  # in the order of the record's
    exact: Interval | None  # share of continuations, over the documents' own shares
    near: Interval | None
    similarity: Interval | None
    exposure: Interval | None
    bits_per_byte: Interval | None
    reproduced: int  # documents with an exact continuation
    control_exact: Interval | None  # the same of held-out documents: what can be guessed
    control_near: Interval | None
    control_similarity: Interval | None
    control_bits_per_byte: float  # median


class MemorisationRecord(JsonRecord):
    """memorisation.json"""

    prefix: int  # tokens
    continuation: int
    near: float
    controls: int  # held-out documents that exposure ranks among
    control_continuations: int  # documents of those that were asked for continuations
    documents: list[AskedDocument]
    models: list[ModelMemory]

    @property
    def most_exposure(self) -> float:
        """Bits of a document that is likelier than every control."""
        return math.log2(self.controls + 1)


def read_memorisation(path: str | Path) -> MemorisationRecord:
    """The record that memorisation wrote; UserError for a file that isn't one."""
    record: MemorisationRecord = read_json(
        Path(path), MemorisationRecord, remedy="delete it and run memorisation again"
    )
    return record
