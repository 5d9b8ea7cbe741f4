"""The files that the filter writes and the report reads: setfit_train.json, near_threshold.json.

By kind of filter means `setfit`, `static` (the student) and `cascade`; of the quality also
`frozen`, the base model before it was tuned.
"""

from pathlib import Path

from pydantic import Field

from ..json_files import read_json
from ..json_record import JsonRecord

__all__ = [
    "CurvePoint",
    "FilterQuality",
    "FilterRecord",
    "NearDocument",
    "NearSource",
    "NearThreshold",
    "read_filter",
    "read_near_threshold",
]


class FilterQuality(JsonRecord):
    """On labelled texts that were not trained on; None for a share of nothing."""

    texts: int
    accuracy: float | None
    precision: float | None
    recall: float | None


class CurvePoint(FilterQuality):
    """The quality with another threshold."""

    threshold: float


class FilterRecord(JsonRecord):
    """setfit_train.json"""

    labels: int
    threshold: float
    band: tuple[float, float]  # scores of the student between which the cascade has SetFit decide
    held_out: dict[str, FilterQuality]  # by kind
    curve: dict[str, list[CurvePoint]]  # by kind
    documents: int  # of the run, that nothing was chosen on
    kept: dict[str, float]  # share of these, by kind
    agreement: dict[str, float | None]  # with SetFit on these, by kind
    by_setfit: float | None = Field(validation_alias="asked", serialization_alias="asked")
    documents_per_cpu_second: dict[str, float]  # by kind


class NearDocument(JsonRecord):
    """A document near the threshold."""

    id: str
    score: float
    text: str


class NearSource(JsonRecord):
    """Of a source, those nearest to the threshold on either side."""

    kept: list[NearDocument]
    dropped: list[NearDocument]


class NearThreshold(JsonRecord):
    """near_threshold.json"""

    threshold: float
    sources: dict[str, NearSource]


def read_filter(path: str | Path) -> FilterRecord:
    """setfit_train.json; UserError when it is missing, damaged or of another version."""
    return read_json(path, FilterRecord, remedy="delete it and run setfit_train again")


def read_near_threshold(path: str | Path) -> NearThreshold:
    """near_threshold.json, likewise."""
    return read_json(path, NearThreshold, remedy="delete it and run filter_dataset again")
