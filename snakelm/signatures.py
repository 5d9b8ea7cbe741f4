"""What kind of file some first bytes are of: told by content, since names are given by people.

Three tables: compressed streams, which `snakelm.data.reading.streams` unpacks where it can; files
of other kinds, which nobody can read as text and whose owner should hear what they are; and byte
order marks.
"""

import codecs
from pathlib import Path

__all__ = ["HEAD", "byte_order_mark", "compression", "foreign", "foreign_file"]

HEAD = 65_536  # bytes that are enough to tell

COMPRESSIONS = {
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"\x5d\0\0": "lzma",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4 of the old format",
    b"\x1f\x9d": "compress",
    b"LZIP": "lzip",
} | {bytes([0x50 + i]) + b"\x2a\x4d\x18": "zstd" for i in range(16)}  # a skippable frame in front

# A bzip2 file begins with BZh and a digit, as a text may; then pi, or its square root when empty.
BZIP2_BLOCKS = b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"

FOREIGN = {
    b"PAR1": "a parquet file; name it .parquet, or set the source's format",
    b"ARROW1": "an Arrow file; write it as parquet",
    b"Obj\x01": "an Avro file; write it as parquet or JSONL",
    b"ORC": "an ORC file; write it as parquet",
    b"\x89HDF": "an HDF5 file; write its texts as parquet or JSONL",
    b"SQLite format 3\0": "an SQLite database; write its texts as parquet or JSONL",
    b"\x93NUMPY": "a NumPy file; write its texts as parquet or JSONL",
    b"\x80\x04\x95": "a Python pickle; write its texts as parquet or JSONL",
    b"PK\x03\x04": "a zip archive, or an office document, which is one; unpack it",
    b"PK\x05\x06": "an empty zip archive; take it out",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!\x1a\x07": "a rar archive; unpack it",
    b"%PDF-": "a PDF; extract its text first, with pdftotext for one",
    b"{\\rtf": "a rich text document; save it as plain text",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an office document of the old kind; save it as text",
    b"\x89PNG\r\n": "a picture; take it out",
    b"\xff\xd8\xff": "a picture; take it out",
    b"\x7fELF": "a program; take it out",
    b"version https://git-lfs.github.com/spec/": "a Git LFS pointer that stands for the file; "
    "run git lfs pull",
}
TAR_AT, TAR = 257, b"ustar"

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF32_LE: "UTF-32LE",  # before UTF-16LE, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32BE",
    codecs.BOM_UTF16_LE: "UTF-16LE",
    codecs.BOM_UTF16_BE: "UTF-16BE",
}


def compression(head: bytes) -> str | None:
    """The name of the compression that a stream begins as; None for another stream."""
    if head[:3] == b"BZh" and head[3:4].isdigit() and head[4:10] in BZIP2_BLOCKS:
        return "bzip2"
    return next((name for magic, name in COMPRESSIONS.items() if head.startswith(magic)), None)


def foreign(head: bytes) -> str | None:
    """What a file is that isn't text, and what to do with it; None for one that may be text."""
    if head[TAR_AT : TAR_AT + len(TAR)] == TAR:
        return "a tar archive; unpack it"
    return next((what for magic, what in FOREIGN.items() if head.startswith(magic)), None)


def foreign_file(path: str | Path) -> str | None:
    """What a file that no reader of tables takes is instead, and what to do; None when its first
    bytes don't tell.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD)

    if packed := compression(head):
        return f"a file compressed by {packed}; unpack it"
    if head.startswith(b"PAR1"):
        return None  # a damaged one
    if what := foreign(head):
        return what

    start = head[:200].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, of an error or a login perhaps; fetch the file itself"
    if start.startswith((b"{", b"[")):
        return "JSON; name it .jsonl, or set the source's format"
    return None


def byte_order_mark(head: bytes) -> tuple[str, int] | None:
    """(encoding, bytes of the mark) of a text that begins with a byte order mark."""
    for mark, name in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return name, len(mark)
    return None
