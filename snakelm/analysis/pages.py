"""Pages of the report and the model card: a jinja2 template and what it shows → one file that needs
nothing else.

Python computes what a page says, its template says how that is laid out; text from a corpus, a
model or a config never becomes markup. jinja2 escapes every value, no template marks one as safe,
and a Content-Security-Policy that allows nothing but the page's own style stands in each page for
the day that this is wrong. A name that a template uses and nobody gave it is an error.
"""

import functools
import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..files import write_text

__all__ = ["UNFIT", "render_markdown", "render_page", "write_page"]

# What no HTML document may hold, and what turns the direction of the text around it.
UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)
MARKS = re.compile(r"[\s|<>`\\\[\]]+")  # what Markdown or HTML would read as more than text
LONGEST = 120  # characters of a value in Markdown


def write_page(path: str | Path, template: str, **values: object) -> None:
    """Renders ``template``, a file of templates/, to ``path``: the old page or the new one, never a
    part of one.
    """
    write_text(path, render_page(template, **values))


def render_page(template: str, **values: object) -> str:
    """The whole document. None is shown as nothing, a character unfit for HTML as U+FFFD."""
    html = _environment().get_template(template).render(**values)

    # Over the finished page, so that no way of putting text into it leads around this.
    return UNFIT.sub("\ufffd", html)


def render_markdown(template: str, **values: object) -> str:
    """A Markdown file whose values are plain text: one line each, cut, and without what Markdown or
    HTML would read as more than text.
    """
    return _markdown_environment().get_template(template).render(**values)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("snakelm.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: "" if value is None else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["inline"] = _inline
    environment.filters["commas"] = lambda number: "–" if number is None else f"{number:,}"
    return environment


@functools.cache
def _markdown_environment() -> Environment:
    # Autoescaping is for HTML; here `finalize`, which every value passes, takes marks out instead.
    return Environment(
        loader=PackageLoader("snakelm.analysis"),
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _plain(value: object) -> str:
    if value is None:
        return ""

    text = MARKS.sub(" ", UNFIT.sub("\ufffd", str(value))).strip()
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _inline(name: str) -> Markup:
    """A style sheet or script of templates/ as it stands, to be put between its tags."""
    environment = _environment()
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])
