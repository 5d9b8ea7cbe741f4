"""Pages of the report: a jinja2 template and what it shows → one HTML file that needs nothing else.

Python computes what a page says, its template says how that is laid out; text from a corpus, a
model or a config never becomes markup. jinja2 escapes every value, no template marks one as safe,
and a Content-Security-Policy that allows nothing but the page's own style stands in each page for
the day that this is wrong. A name that a template uses and nobody gave it is an error.
"""

import base64
import functools
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..files import write_text

__all__ = ["UNFIT", "render_page", "write_page"]

# What no HTML document may hold, and what turns the direction of the text around it.
UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)


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
    environment.filters["sha256"] = _sha256
    environment.filters["commas"] = lambda number: "–" if number is None else f"{number:,}"
    return environment


def _inline(name: str) -> Markup:
    """A style sheet or script of templates/ as it stands, to be put between its tags."""
    environment = _environment()
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _sha256(text: str) -> str:
    """The digest of a script in base64, by which a Content-Security-Policy lets it run."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
