"""Texts from WARC archives (crawls), streamed: the main content of HTML pages, plain text as it is.

A record of a page is a row: a response, a resource, a conversion (the WET files of Common Crawl), a
revisit. Requests and metadata are none. Much of a crawl is no text, which is no fault of the file:
it is always left out and counted by reason, whatever `on_bad_file` says, as are redirects, errors
and revisits, which only say that a page was the same again. Archives are unpacked by `streams.py`,
so a damaged or broken-off one is told like any other file; warcio finds the records.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...parquet import REMEDY_USERS, BadFile
from .lines import GLANCE_BYTES, Part, in_batches, unpacked_bytes
from .rows import Glance, Problem, Reading, TextBatch, too_large
from .streams import CHUNK, open_bytes
from .web_page import Page, check_installed, page_text

__all__ = ["warc_glance", "warc_texts"]

PAGES = {"response", "resource", "conversion", "revisit"}
HTML = {"text/html", "application/xhtml+xml"}
CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w:.-]+)", re.IGNORECASE)
BLANK = 8  # bytes of line ends after a record, at most
ENCODINGS = {"", "identity", "gzip", "x-gzip", "deflate"}  # that warcio unpacks


def warc_texts(path: Path, reading: Reading) -> Iterator[TextBatch]:
    """The text of every page; ``reading.column`` has no meaning here."""

    def parts() -> Iterator[Part]:
        with _opened(path) as (stream, _):
            for text, problem in _pages(stream, path, reading.largest):
                yield 0, text, problem

    for batch in in_batches(parts()):
        yield TextBatch(batch.texts, batch.problems)


def warc_glance(path: Path, reading: Reading) -> Glance:
    """What the first records tell; BadFile for what is no WARC."""
    with _opened(path) as (stream, notes):
        text_bytes, rows, complete = 0, 0, True
        for text, _ in _pages(stream, path, reading.largest):
            text_bytes += len(text or b"")
            rows += 1
            if stream.tell() >= GLANCE_BYTES:
                complete = False
                break
        share = text_bytes / max(1, stream.tell())
    size = text_bytes if complete else int(unpacked_bytes(path) * share)
    return Glance(rows if complete else None, None, size, notes)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple["_Counted", tuple[str, ...]]]:
    check_installed()
    with open_bytes(path) as opened:
        stream = _Counted(opened.stream)
        if stream.peek(5)[:5] != b"WARC/":
            raise BadFile("no WARC archive (it doesn't begin with WARC/)", path)
        yield stream, opened.notes


class _Counted:
    """A stream that knows how much of it was read, as warcio asks of one that can't seek."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self.stream, self.at = stream, 0

    def peek(self, size: int) -> bytes:
        return self.stream.peek(size)

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read1(size)  # or bytes before a fault would be lost with it
        self.at += len(data)
        return data

    def tell(self) -> int:
        return self.at


def _pages(stream: _Counted, path: Path, largest: int) -> Iterator[Page]:
    """The text of each page, or what is wrong with it, once all of its record was there."""
    from warcio.archiveiterator import ArchiveIterator

    archive, done = ArchiveIterator(stream), 0
    try:
        for record in archive:
            page = _page(record, largest) if record.rec_type in PAGES else None
            _pass(record, path)
            done = stream.tell() - archive.reader.rem_length()
            if page:
                yield page
    except BadFile:
        raise
    except Exception as error:  # of a damaged header warcio raises whatever comes of it
        why = " ".join(str(error).split())[:80]
        raise BadFile(f"damaged, or not a WARC archive ({why}); {REMEDY_USERS}", path) from None

    if stream.tell() - done > BLANK:  # a header without an end, which warcio takes for the end
        raise _broken_off(path)


def _pass(record: Any, path: Path) -> None:
    """Reads what is left of a record; BadFile where the file ends before it does."""
    while record.raw_stream.read(CHUNK):
        pass
    if getattr(record.raw_stream, "limit", 1) > 0:
        raise _broken_off(path)


def _broken_off(path: Path) -> BadFile:
    return BadFile(f"broken off or damaged (its last record has no end); {REMEDY_USERS}", path)


def _page(record: Any, largest: int) -> Page:
    """The text of a record as UTF-8, or what is wrong with it."""
    if reason := _unfit(record):
        return None, Problem(reason, sound=True)
    named = _header(record, "Content-Type")
    kind = named.partition(";")[0].strip().lower()
    if kind != "text/plain" and kind not in HTML:
        return None, Problem("neither HTML nor plain text", sound=True)

    try:
        body = record.content_stream().read(largest + 1)
    except BadFile:
        raise
    except Exception:  # of whatever library unpacks what the server sent
        return None, Problem("a page that can't be unpacked", sound=True)
    if len(body) > largest:
        return None, too_large(largest)
    charset = CHARSET.search(named)
    return page_text(body, charset[1] if charset else None, html=kind in HTML)


def _unfit(record: Any) -> str:
    """Why a record holds no page, if it doesn't."""
    if record.rec_type == "revisit":
        return "revisit record"
    if record.rec_type == "response":
        status = record.http_headers.get_statuscode() if record.http_headers else ""
        if not re.fullmatch(r"[1-5]\d\d", status or ""):
            return "no HTTP status"
        if status != "200":
            return f"HTTP status {status[0]}xx" if status[0] != "2" else "HTTP status 2xx, not 200"
    encoding = _header(record, "Content-Encoding").strip().lower()
    return "" if encoding in ENCODINGS else "a page that can't be unpacked"


def _header(record: Any, name: str) -> str:
    headers = record.http_headers or record.rec_headers
    return headers.get_header(name) or ""
