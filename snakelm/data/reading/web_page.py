"""The text of a web page: its main content by resiliparse, without menus and footers.

Resiliparse took a twentieth of trafilatura's time on the same pages, and says nothing of a page
where it finds no content. Its time grows with the square of how deep elements lie in each other, so
a page with thousands of them unclosed is refused. Bytes are decoded by the server's word, else as
UTF-8, else by the page's own word or what they look like; one that isn't of that encoding becomes
U+FFFD.
"""

import importlib.util
import re

import numpy as np

from ...parquet import BadFile
from .rows import Problem

__all__ = ["Page", "check_installed", "page_text"]

Page = tuple[bytes | None, Problem | None]  # its text as UTF-8, or what is wrong with it

DEEPEST = 4000  # elements within each other: a third of a second
OPEN, SLASH = ord("<"), ord("/")
NEVER_CLOSED = re.compile(
    rb"<(?:area|base|br|col|dd|dt|embed|hr|img|input|li|link|meta|option|p|param|source|t[dhr]|wbr|!)"
    rb"(?![a-z])",
    re.IGNORECASE,
)
INSTALL = "pip install -r requirements-warc.txt"


def check_installed() -> None:
    """BadFile unless the packages that WARC needs are there."""
    for name in ("warcio", "resiliparse"):
        if importlib.util.find_spec(name) is None:
            raise BadFile(f"a WARC archive, and {name} isn't installed: {INSTALL}")


def page_text(page: bytes, charset: str | None, html: bool) -> Page:
    """The text of a page. ``charset``: the server's word for it."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    if html and _depth(page) > DEEPEST:
        return None, Problem("nested too deeply", sound=True)

    text = _decoded(page, charset)
    if text is None:
        encoding = detect_encoding(page, from_html_meta=html) or "utf-8"
        text = bytes_to_str(page, encoding, errors="replace")
    if html:
        text = extract_plain_text(text, main_content=True)
    return text.encode("utf-8", "replace"), None


def _decoded(page: bytes, charset: str | None) -> str | None:
    """The page by the server's word, else as UTF-8; None where it isn't in that throughout."""
    for encoding in (charset, "utf-8"):
        try:
            if encoding:
                return page.decode(encoding).removeprefix("\ufeff")
        except (LookupError, UnicodeError):
            continue
    return None


def _depth(page: bytes) -> int:
    """How deep elements lie in each other, at most."""
    data = np.frombuffer(page + b" ", np.uint8)
    begins = data[:-1] == OPEN
    steps = begins.astype(np.int64) - 2 * (begins & (data[1:] == SLASH))
    for one in NEVER_CLOSED.finditer(page) if steps.sum() > DEEPEST else ():
        steps[one.start()] = 0
    at = np.cumsum(steps)
    return int((at - np.minimum.accumulate(at)).max(initial=0))
