"""A page as an HTML parser reads it, and texts that try to be more than text."""

from html.parser import HTMLParser

ATTACKS = [
    "<script>alert(1)</script>",
    "</pre></body><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x=\'',
    "<style>*{display:none}</style><!-- -->",
    "]]><svg onload=alert(1)>",
    "a\x00b\x1b[31m\u202egnp.exe",
]


class ParsedPage(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data
