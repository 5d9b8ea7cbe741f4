"""A user's file is read by its content: unpacked, decoded, or refused for what it is."""

import bz2
import gzip
import lzma
import os

import pyarrow as pa
import pytest

from snakelm.data.reading.streams import CHUNK, lines, open_text
from snakelm.parquet import BadFile

TEXT = b"".join(b"line %d of the river\n" % i for i in range(50_000))  # several chunks


def by_arrow(kind):
    def pack(data):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, kind) as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()

    return pack


PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    ".zst": by_arrow("zstd"),
    ".lz4": by_arrow("lz4"),
}
SKIPPABLE = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"


def content(path, data):
    """(text, notes)"""
    path.write_bytes(data)
    with open_text(path) as opened:
        return opened.stream.read(), opened.notes


def test_a_plain_file_is_what_it_is(tmp_path):
    assert content(tmp_path / "a.txt", TEXT) == (TEXT, ())
    assert content(tmp_path / "b.txt", b"") == (b"", ())


@pytest.mark.parametrize("suffix", PACK)
def test_a_compressed_file_is_unpacked_whatever_its_name(tmp_path, suffix):
    packed = PACK[suffix](TEXT)
    assert content(tmp_path / f"a{suffix}", packed) == (TEXT, ())
    text, (note,) = content(tmp_path / "a.txt", packed)
    assert text == TEXT
    assert "which its name doesn't say" in note
    assert content(tmp_path / f"two{suffix}", packed + packed)[0] == TEXT * 2


@pytest.mark.parametrize("suffix", PACK)
def test_plain_text_under_a_compressed_name_is_read(tmp_path, suffix):
    text, (note,) = content(tmp_path / f"a{suffix}", TEXT)
    assert text == TEXT
    assert note == f"not compressed, though its name says {suffix}; read as it is"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("zeros", [1, 512, CHUNK + 7])
def test_zeros_after_the_last_member_are_padding(tmp_path, suffix, zeros):
    packed, pad = PACK[suffix](TEXT), bytes(zeros)
    assert content(tmp_path / f"a{suffix}", packed + pad)[0] == TEXT
    assert content(tmp_path / f"b{suffix}", packed + pad + packed + pad)[0] == TEXT * 2


def test_skippable_frames_of_zstd_are_skipped(tmp_path):
    packed = PACK[".zst"](TEXT)
    data = SKIPPABLE + packed + SKIPPABLE + packed + SKIPPABLE
    assert content(tmp_path / "a.zst", data) == (TEXT * 2, ())


@pytest.mark.parametrize("suffix", PACK)
def test_other_bytes_after_the_compressed_ones_are_said(tmp_path, suffix):
    with pytest.raises(BadFile, match=r"other bytes after its .*cut them off or fetch it again"):
        content(tmp_path / f"a{suffix}", PACK[suffix](TEXT) + b"and a line of text\n")


@pytest.mark.parametrize("suffix", PACK)
def test_what_is_cut_off_is_said_after_all_that_could_be_read(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(PACK[suffix](TEXT)[:-9])
    blocks = []

    def read_blocks():
        with open_text(tmp_path / f"a{suffix}") as opened:
            blocks.extend(iter(opened.stream.read1, b""))

    with pytest.raises(BadFile, match="broken off or damaged"):
        read_blocks()
    read = b"".join(blocks)
    assert read == TEXT[: len(read)]
    assert len(read) > len(TEXT) * 0.8


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_flipped_bit_is_found(tmp_path, suffix):
    data = bytearray(PACK[suffix](os.urandom(100_000)))
    data[len(data) // 2] ^= 4
    with pytest.raises(BadFile, match="broken off or damaged"):
        content(tmp_path / f"a{suffix}", bytes(data))


MARKED = {
    "UTF-8": b"\xef\xbb\xbf",
    "UTF-16LE": b"\xff\xfe",
    "UTF-16BE": b"\xfe\xff",
    "UTF-32LE": b"\xff\xfe\0\0",
    "UTF-32BE": b"\0\0\xfe\xff",
}
SCRIPTS = {
    "Latin": "The river turned the mill, år efter år\n",
    "Cyrillic": "Река вертела мельницу\n",
    "Devanagari": "नदी ने चक्की को घुमाया\n",
    "Thai": "แม่น้ำ หมุน โรงสี\n",
    "Chinese": "河流推动 磨坊\n",
}


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_byte_order_mark_decides(tmp_path, encoding, script):
    text = SCRIPTS[script] * 5000
    data = MARKED[encoding] + text.encode(encoding)
    for path, packed in ((tmp_path / "a.txt", data), (tmp_path / "b.txt.gz", gzip.compress(data))):
        found, notes = content(path, packed)
        assert found.decode() == text
        assert notes == (() if encoding == "UTF-8" else (f"{encoding}; read as such",))


@pytest.mark.parametrize("encoding", list(MARKED)[1:])
@pytest.mark.parametrize("script", list(SCRIPTS)[:-1])
def test_without_its_mark_it_is_refused_by_name(tmp_path, encoding, script):
    said = f"{encoding} without a byte order mark, .*iconv -f {encoding} -t UTF-8"
    with pytest.raises(BadFile, match=said):
        content(tmp_path / "a.txt", (SCRIPTS[script] * 9).encode(encoding))


def test_utf16_that_breaks_off_is_said(tmp_path):
    with pytest.raises(BadFile, match=r"begins as UTF-16LE, .* but isn't that throughout"):
        content(tmp_path / "a.txt", "river".encode("utf-16")[:-1])


@pytest.mark.parametrize(
    "data",
    [b"a\0b", b"one\0two\0three", b"x" * 1000 + b"\0", b"1\n0\n1\n0\n", b"a\0\nb\n"],
    ids=repr,
)
def test_text_with_some_nuls_is_text(tmp_path, data):
    assert content(tmp_path / "a.txt", data) == (data, ())


FOREIGN = {
    "zip": (b"PK\x03\x04" + b"x" * 99, "a zip archive"),
    "tar in gzip": (gzip.compress(b"a.txt".ljust(257, b"\0") + b"ustar\0" + bytes(99)), "a tar"),
    "gzip in gzip": (gzip.compress(gzip.compress(TEXT)), "compressed twice, by gzip and by gzip"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", "a PDF; extract its text"),
    "parquet": (b"PAR1" + bytes(99) + b"PAR1", "a parquet file; name it .parquet"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "run git lfs pull"),
    "compress": (b"\x1f\x9d\x90abc", "compressed by compress, which isn't read; unpack it"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_text_is_called_by_its_name(tmp_path, name):
    data, said = FOREIGN[name]
    with pytest.raises(BadFile, match=said):
        content(tmp_path / "a.txt", data)


def test_a_line_ends_with_a_line_feed_and_nothing_else(tmp_path):
    data = "a\u2028b\u0085c\x0bd\x0ce\rf\r\ng\n\nh".encode()
    (tmp_path / "a.txt").write_bytes(data)
    with open_text(tmp_path / "a.txt") as opened:
        found = list(lines(opened.stream, 1000))
    assert found == [
        (1, "a\u2028b\u0085c\x0bd\x0ce\rf\r\n".encode()),
        (2, b"g\n"),
        (3, b"\n"),
        (4, b"h"),
    ]


def test_a_line_too_long_is_left_out_and_the_next_ones_keep_their_numbers(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\n" + b"b" * 1_000_000 + b"\nc\n" + b"d" * 11)
    with open_text(tmp_path / "a.txt") as opened:
        found = list(lines(opened.stream, 10))
    assert found == [(1, b"a\n"), (2, None), (3, b"c\n"), (4, None)]
