"""The type of a JSON file that one step writes and other steps read.

Writer and readers share one class: the writer builds the record and writes `as_json()`, a reader
gets it back with `snakelm.json_files.read_json(path, ThatRecord, remedy=…)`. A key that is spelt
wrongly on either side is then an error at that place, not a missing line in a report.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["JsonRecord"]


class JsonRecord(BaseModel):
    """A mapping in such a file. An attribute may be named better than its key in the file: the key
    is its alias then.
    """

    # Unknown keys are ignored: files of a later version, with more in them, stay readable.
    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True
    )

    def as_json(self) -> dict[str, Any]:
        """What is written: the keys that were given, None as null, and no key that was left out."""
        return self.model_dump(by_alias=True, exclude_unset=True)
