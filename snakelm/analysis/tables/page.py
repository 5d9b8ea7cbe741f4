"""HTML that cannot be broken by what stands in it.

Pages are built from elements, never from strings pasted together: `element` escapes every child
that isn't itself an element, so text from a corpus, a model or a config has no way to become
markup. A content security policy that allows nothing but inline styles stands in each page for the
day that this is wrong.
"""

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...files import write_text

__all__ = ["Html", "element", "facts", "page", "rows", "write_page"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --paper: #fffffe; --ink: #1f2329; --soft: #59636f; --line: #dfe3e8; --wash: #f3f5f8;
  --blue: #0b6bcb; --green: #13795b; --orange: #c2540a; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e8ecf1; --soft: #a5b0bd; --line: #333b45;
  --wash: #1d232b; --blue: #67b3ff; --green: #4fcf9f; --orange: #ff9a52; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 52rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0 0 .5rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .9rem; }
.big { font-size: 2.2rem; font-weight: 650; line-height: 1.15; } .good { color: var(--green); }
.warn { border-left: 4px solid var(--orange); padding: .3rem .7rem; background: var(--wash); margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; overflow-wrap: normal; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
td.number { white-space: nowrap; } .facts td:first-child { overflow-wrap: break-word; }
pre { background: var(--wash); padding: .7rem; border-radius: 6px; white-space: pre-wrap; unicode-bidi: isolate;
  font: .88rem/1.45 ui-monospace, monospace; margin: .4rem 0; }
small { font: .78rem/1.3 ui-monospace, monospace; }
.prompt { color: var(--soft); }
.wide { overflow-x: auto; } .wide td, .wide th { overflow-wrap: normal; }
.learned { background: color-mix(in srgb, var(--green) 24%, transparent); }
.a, .b { border-radius: 2px; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
.a { background: color-mix(in srgb, var(--blue) 22%, transparent); }
.b { background: color-mix(in srgb, var(--orange) 20%, transparent); }
td > pre { margin: 0; padding: .3rem .5rem; }
.bar { height: .5rem; border-radius: 3px; background: var(--line); } .bar.model { background: var(--blue); }
"""
# What no HTML document may hold, and what turns the direction of the text around it.
UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)


class Html(str):
    """Markup made by `element`; anything else is text."""

    __slots__ = ()


def element(name: str, *children: object, **attributes: object) -> Html:
    """`element("td", 3, class_="number")`; None and False children are left out, lists are children
    in a row.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{given}>{''.join(_child(child) for child in children)}</{name}>")


def facts(body: Iterable[Sequence[object]], head: Sequence[str] = ("", "")) -> Html:
    """A table of names and values: names are broken between words only."""
    return element("div", rows(head, body), class_="facts")


def rows(
    head: Sequence[str], body: Iterable[Sequence[object]], numbers: Iterable[int] = ()
) -> Html:
    """A table; the columns in ``numbers`` are set right. None is an empty cell."""
    right = set(numbers)

    def line(cell: str, values: Sequence[object]) -> Html:
        return element(
            "tr",
            *(
                element(cell, v, **({"class_": "number"} if i in right else {}))
                for i, v in enumerate(values)
            ),
        )

    header = element("thead", line("th", head)) if any(head) else None
    return element("table", header, element("tbody", *(line("td", values) for values in body)))


def page(title: str, *children: object) -> str:
    """A whole document."""
    head = element(
        "head",
        Html(
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        ),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("title", title),
        Html(f"<style>{STYLE}</style>"),
    )
    return (
        "<!doctype html>\n"
        + element("html", head, element("body", element("h1", title), *children), lang="en")
        + "\n"
    )


def write_page(path: str | Path, title: str, *children: object) -> None:
    """Writes `page`, atomically."""
    write_text(path, page(title, *children))


def _child(child: object) -> str:
    if child is None or child is False:
        return ""
    if isinstance(child, list | tuple):
        return "".join(_child(part) for part in child)
    return child if isinstance(child, Html) else _text(child)


def _text(value: object) -> str:
    return html.escape(UNFIT.sub("�", str(value)))
