"""A page is one inert file: values are text, unfit characters are replaced, and nothing is left out
silently.
"""

import tomllib
from pathlib import Path

import jinja2
import pytest
from markupsafe import Markup

from snakelm.analysis import pages
from snakelm.analysis.pages import render_page, write_page
from tests.snakelm.analysis.parsed_page import ATTACKS, ParsedPage

TEMPLATES = Path(pages.__file__).parent / "templates"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def template(monkeypatch):
    """`template(source)` makes `it.html` of a page's source, over the real base and macros."""

    def make(source: str) -> None:
        real = pages._environment()
        made = real.overlay(
            loader=jinja2.ChoiceLoader([jinja2.DictLoader({"it.html": source}), real.loader])
        )
        made.globals = real.globals
        monkeypatch.setattr(pages, "_environment", lambda: made)

    return make


PAGE = (
    '{% extends "base.html" %}{% import "macros.html" as ui %}'
    "{% block title %}A {{ name }}{% endblock %}{% block body %}BODY{% endblock %}"
)


def page(body: str) -> str:
    return PAGE.replace("BODY", body)


def test_values_are_escaped_wherever_they_stand(template):
    template(page('<p class="{{ name }}">{{ name }}</p>{{ ui.facts([(name, name)]) }}'))
    text = render_page("it.html", name="<b>&\"'")
    escaped = "&lt;b&gt;&amp;&#34;&#39;"
    assert "<b>" not in text
    assert f'<p class="{escaped}">{escaped}</p>' in text
    assert f"<title>A {escaped}</title>" in text
    assert f"<h1>A {escaped}</h1>" in text
    assert f"<td>{escaped}</td><td>{escaped}</td>" in text


def test_unfit_characters_are_replaced_even_in_markup(template, tmp_path):
    template(page("<pre>{{ name }}</pre>"))
    for name in ("a\x00\x1b\u202e\ud800b", Markup("a\x00\x1b\u202e\ud800b")):
        write_page(tmp_path / "a.html", "it.html", name=name)
        assert "<pre>a����b</pre>" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_what_was_not_given_is_an_error_and_none_is_nothing(template):
    template(page("<p>{{ name.more }}</p>"))
    with pytest.raises(jinja2.UndefinedError):
        render_page("it.html", name="x")
    template(page("<p>{{ name }}</p>"))
    assert "<p></p>" in render_page("it.html", name=None)


def test_numbers_are_aligned_and_empty_heads_left_out(template):
    template(page("{{ ui.table(['', 'n'], [[name, 1]], [1]) }}{{ ui.facts([[name, 2]]) }}"))
    text = render_page("it.html", name="x")
    assert '<th></th><th class="number">n</th>' in text
    assert '<td>x</td><td class="number">1</td>' in text
    assert text.count("<thead>") == 1


def test_a_page_loads_nothing_and_its_style_stands_in_it(template):
    template(page(""))
    text = render_page("it.html", name="x")
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in text
    assert (TEMPLATES / "style.css").read_text(encoding="utf-8") in text


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_calls_a_value_safe(path):
    text = path.read_text(encoding="utf-8")
    assert "autoescape" not in text
    assert not [word for word in ("| safe", "|safe", "Markup") if word in text]
    pages._environment().get_template(path.name)


def test_templates_are_installed_with_the_package():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert setup["tool"]["setuptools"]["package-data"]["snakelm.analysis"] == ["templates/*"]
    assert all(path.is_file() for path in TEMPLATES.iterdir())


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_no_macro_lets_text_become_markup(attack, template):
    parts = (
        "{{ ui.note(name) }}{{ ui.warning(name) }}{{ ui.table([name], [[name]]) }}"
        "{{ ui.wide_table([name], [[name]]) }}{{ ui.facts([[name]], [name]) }}"
        "{{ ui.texts([name], [[name, name]]) }}{{ ui.two_lines(name, name) }}"
    )
    template(page(parts))
    harmless, attacked = (
        ParsedPage(render_page("it.html", name=name)) for name in ("WORD", attack)
    )
    assert attacked.tags == harmless.tags
    assert attacked.attributes == harmless.attributes
    if "\x00" not in attack:  # the words are there to be read
        assert attacked.text == harmless.text.replace("WORD", attack)
