"""WARC archives: the text of pages, reasons for everything else, damage told as of any file."""

import gzip

import pytest

from snakelm.data.reading import web_page
from snakelm.data.reading.readers import Reader, file_format
from snakelm.data.reading.rows import LARGEST, Reading
from snakelm.data.reading.warc_text import warc_glance
from snakelm.errors import UserError
from snakelm.parquet import BadFile

PAGE = (
    "<html><head><title>Otters</title><script>var a = 1;</script></head><body>"
    "<nav><a href='/'>Home</a> <a href='/b'>Imprint</a></nav><main><h1>Otters</h1>"
    "<p>The otter of the river sleeps until noon &amp; eats caf\u00e9.</p>"
    "<p>Then it swims.</p></main>"
    "<footer>All rights reserved</footer></body></html>"
)
TEXT = "Otters\n\nThe otter of the river sleeps until noon & eats caf\u00e9.\n\nThen it swims."


@pytest.fixture(autouse=True)
def _installed():
    pytest.importorskip("warcio", reason="requirements-warc.txt is not installed")
    pytest.importorskip("resiliparse", reason="requirements-warc.txt is not installed")


def record(body, type_="text/html; charset=utf-8", *, status="200 OK", kind="response", headers=()):
    """A record of an archive as bytes."""
    http = "".join(f"{name}: {value}\r\n" for name, value in [("Content-Type", type_), *headers])
    block, named = body, type_
    if kind in ("response", "revisit"):
        block = f"HTTP/1.1 {status}\r\n{http}\r\n".encode() + body
        named = "application/http; msgtype=response"
    return (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
        f"WARC-Target-URI: http://example.org/\r\nContent-Type: {named}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    ).encode() + block + b"\r\n\r\n"  # fmt: skip


def page(number=0):
    return record(PAGE.replace("noon", f"noon of day {number}").encode())


def read(path, on_bad="error", largest=LARGEST):
    reader = Reader([path], reading=Reading(largest=largest), on_bad=on_bad)
    texts = [text for batch in reader.batches() for text in batch.column("text").to_pylist()]
    c = reader.counts
    assert c.read == c.kept + c.null + c.empty + sum(c.invalid.values())
    return texts, c


def written(tmp_path, data, name="a.warc"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


PAGES = {
    "UTF-8": (PAGE.encode(), "text/html; charset=UTF-8", ()),
    "the server's word": (PAGE.encode("cp1252"), 'text/html; charset="windows-1252"', ()),
    "the page's word": (
        PAGE.replace("<head>", "<head><meta charset=iso-8859-1>").encode("latin-1"),
        "text/html",
        (),
    ),
    "a wrong word": (PAGE.encode(), "text/html; charset=utf-7x", ()),
    "XHTML": (PAGE.encode(), "application/xhtml+xml", ()),
    "gzip": (gzip.compress(PAGE.encode()), "text/html", [("Content-Encoding", "gzip")]),
    "chunked": (
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(PAGE.encode()), PAGE.encode()),
        "text/html",
        [("Transfer-Encoding", "chunked")],
    ),
}


@pytest.mark.parametrize("kind", PAGES)
def test_of_a_page_the_main_content_is_taken(tmp_path, kind):
    body, type_, headers = PAGES[kind]
    assert read(written(tmp_path, record(body, type_, headers=headers)))[0] == [TEXT]


def test_plain_text_is_taken_as_it_is(tmp_path):
    text = "  one\r\n\r\n<p>two</p>\n"
    data = record(text.encode(), "text/plain")
    data += record(text.encode(), "text/plain", kind="conversion")
    data += record(PAGE.encode(), "text/html", kind="resource")
    assert read(written(tmp_path, data, "a.warc.wet"))[0] == [text, text, TEXT]


REASONS = {
    "HTTP status 4xx": record(b"<p>no</p>", status="404 Not Found"),
    "HTTP status 3xx": record(b"", status="301 Moved"),
    "HTTP status 2xx, not 200": record(b"<p>part", status="206 Partial Content"),
    "no HTTP status": record(b"x", status="what"),
    "revisit record": record(b"", kind="revisit"),
    "neither HTML nor plain text": record(b"\x89PNG", "image/png"),
    "a page that can't be unpacked": record(b"x", headers=[("Content-Encoding", "br")]),
    "nested too deeply": record(b"<div>" * 10_000 + b"text"),
}


def test_what_is_no_page_is_counted_by_reason_and_no_error(tmp_path):
    others = record(b"software: x", "application/warc-fields", kind="warcinfo")
    data = others + page(1) + b"".join(REASONS.values()) + record(b"<nav>only</nav>") + page(2)
    texts, counts = read(written(tmp_path, data))
    assert len(texts) == 2
    assert counts.invalid == dict.fromkeys(REASONS, 1)
    assert counts.empty == 1


def test_a_page_with_many_tags_that_nobody_closes_is_a_page(tmp_path):
    poem = "<main>" + "".join(f"<p>Line {i} of the poem<br>" for i in range(9000)) + "</main>"
    assert "Line 8999" in read(written(tmp_path, record(poem.encode())))[0][0]


def test_a_page_that_is_too_large_follows_on_bad_file(tmp_path):
    zeros = gzip.compress(bytes(3_000_000))
    data = page() + record(zeros, "text/plain", headers=[("Content-Encoding", "gzip")])
    path = written(tmp_path, data)
    with pytest.raises(UserError, match=r"row 1 .*: too large \(more than 1 MB"):
        read(path, largest=1_000_000)
    assert read(path, "warn", largest=1_000_000)[1].invalid == {"too large": 1}


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_a_broken_off_archive_is_told_and_all_before_it_is_kept(tmp_path, pack):
    whole = [pack(page(i)) for i in range(3)]
    data, before = b"".join(whole), len(whole[0]) + len(whole[1])
    assert len(read(written(tmp_path, data))[0]) == 3
    for cut in range(before + 5, len(data) - 8, 11):
        path = written(tmp_path, data[:cut])
        with pytest.raises(UserError, match="damaged"):
            read(path)
        texts, counts = read(path, "warn")
        assert (len(texts), len(counts.bad_files)) == (2, 1), cut


DAMAGED = {
    "other bytes": (page() + b"hello " * 9, "damaged, or not a WARC archive"),
    "no archive": (b"hello\n" * 9, "it doesn't begin with WARC/"),
    "a flipped bit": (gzip.compress(page())[:200] + b"\0" * 60, "broken off or damaged"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_archive_says_what_is_wrong(tmp_path, kind):
    data, said = DAMAGED[kind]
    with pytest.raises(UserError, match=said):
        read(written(tmp_path, data))


def test_a_glance_tells_how_much_of_an_archive_is_text(tmp_path):
    path = written(tmp_path, gzip.compress(b"".join(map(page, range(50)))), "a.warc.gz")
    glance = warc_glance(path, Reading())
    assert glance.rows == 50
    assert glance.text_bytes == sum(len(text.encode()) for text in read(path)[0])
    assert file_format(path) == "warc"


def test_without_its_packages_the_command_that_brings_them_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(web_page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadFile, match=r"warcio isn't installed: pip install -r requirements-warc"):
        warc_glance(written(tmp_path, page()), Reading())
