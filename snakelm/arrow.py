"""Arrow string arrays as the compiled core takes them: by address.

Zero-copy: only addresses are passed on, so an array's owner must live until the call returns (the
callers hold it). Offsets are checked in C++ against the size of the data.

Importing this keeps pandas out of processes that don't ask for it.
"""

import sys
from typing import TypeAlias, TypeGuard

import pyarrow as pa

from .errors import UserError

__all__ = ["ArrowTexts", "Chunk", "arrow_chunks", "arrow_rows", "is_arrow"]

ArrowTexts: TypeAlias = pa.Array | pa.ChunkedArray

# (data address, data bytes, offsets address, offset width, first row, rows)
Chunk = tuple[int, int, int, int, int, int]
_WIDTHS = {pa.string(): 4, pa.binary(): 4, pa.large_string(): 8, pa.large_binary(): 8}


def _leave_pandas_out() -> None:
    """pyarrow imports pandas, where it is installed, as soon as it makes an array or hands one to
    numpy, to know a Series if it saw one: a third of a second of every step. It asks once; whoever
    wants a DataFrame later (`to_pandas`) still gets it.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """Says to an import that pandas isn't there."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("left out", name=name)


_leave_pandas_out()


def is_arrow(texts: object) -> TypeGuard[ArrowTexts]:
    """Whether `arrow_chunks` takes it."""
    return isinstance(texts, pa.Array | pa.ChunkedArray)


def arrow_chunks(texts: ArrowTexts) -> tuple[list[Chunk], list[pa.Array]]:
    """The chunks of a string or binary array, and the arrays that own them. Missing values are a
    UserError.
    """
    if texts.null_count:
        raise UserError(
            f"texts: {texts.null_count} of {len(texts)} are missing (null); drop them or fill in "
            "empty texts"
        )

    parts = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    owners = [_plain(part) for part in parts]
    return [_chunk(part) for part in owners if len(part)], owners


def arrow_rows(texts: ArrowTexts) -> list[bytes]:
    """A copy of each text, for what can't read them in place; checked as in `arrow_chunks`."""
    rows: list[bytes] = []
    for part in arrow_chunks(texts)[1]:
        wide = part.type in (pa.large_string(), pa.large_binary())
        plain = part.view(pa.large_binary() if wide else pa.binary())
        try:
            plain.validate(full=True)
        except pa.ArrowException as error:
            raise UserError(
                f"texts: a damaged Arrow array ({' '.join(str(error).split())[:200]}); so is the "
                "file it came from"
            ) from None
        rows += plain.to_pylist()
    return rows


def _plain(part: pa.Array) -> pa.Array:
    """Dictionary and view encodings as plain large strings; anything that isn't text is an error.

    These are checked by Arrow first, since its conversion follows what they refer to unchecked.
    """
    if part.type in _WIDTHS:
        return part

    value_type = part.type.value_type if pa.types.is_dictionary(part.type) else part.type
    if value_type not in (*_WIDTHS, pa.string_view(), pa.binary_view()):
        raise UserError(f"texts: found an Arrow array of {part.type}; expected strings")

    is_binary = value_type in (pa.binary(), pa.binary_view())
    try:
        if part.type == pa.string_view():  # as bytes: what isn't UTF-8 is no fault here
            part.view(pa.binary_view()).validate(full=True)
        else:
            part.validate(full=True)
        return part.cast(pa.large_binary() if is_binary else pa.large_string())
    except pa.ArrowException as error:
        raise UserError(
            f"texts: a damaged Arrow array ({' '.join(str(error).split())[:200]}); so is the file "
            "it came from"
        ) from None


def _chunk(part: pa.Array) -> Chunk:
    _, offsets, data = part.buffers()
    width = _WIDTHS[part.type]
    if offsets is None or offsets.size < (part.offset + len(part) + 1) * width:
        raise UserError(
            "texts: an Arrow array with fewer offsets than rows; the file it came from is damaged"
        )
    address, size = (data.address, data.size) if data is not None else (0, 0)
    return address, size, offsets.address, width, part.offset, len(part)
