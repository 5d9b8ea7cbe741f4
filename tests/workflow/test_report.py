"""The report of half a run, of one without tuning and of a complete one: one page, offline, in
order, on a phone too.
"""

import json
import re

import pytest

from tests.browser import PHONE

OWN = """\
preset: smoke
sources: [{builtin: synthetic, limit: 300}]
train: {steps: 24, eval_every: 12, save_every: 24}
sft_data: {sources: [{path: my/talks.jsonl}], val_fraction: 0.2}
sft: {eval_every: 5, save_every: 50}
tasks: [{builtin: continuation, limit: 8}]
embeddings: {documents: 60}
tsne: {perplexity: 5.0}
"""
MODEL = "results/final_model.pt"
CHAPTERS = [
    "Verdict",
    "Data",
    "Tokenizer",
    "Pretraining",
    "Instruction tuning",
    "Evaluation",
    "Samples",
    "Embeddings",
]
CHAPTERS = [f"{i}. {name}" for i, name in enumerate([*CHAPTERS, "Cost and provenance"], 1)]
TUNING = CHAPTERS[4]


def report(checkout, name, *more):
    """Makes the report; gives what was said and the page's text."""
    done = checkout.snakemake("--configfile", "my.yaml", *more, "--report", name)
    assert done.code == 0, done.said
    return done.said, (checkout.root / name).read_text(encoding="utf-8")


def chapters(text):
    """Chapters with something in them; the menu sorts them by name."""
    return sorted(json.loads(re.search(r"^ *var categories = (.*);$", text, re.MULTILINE)[1]))


@pytest.fixture
def half(checkout):
    """The run after `snakemake … results/final_model.pt`: nothing is drawn yet."""
    talks = [{"question": f"{i} and 1?", "answer": f"{i + 1}."} for i in range(60)]
    checkout.write("my/talks.jsonl", "".join(json.dumps(talk) + "\n" for talk in talks))
    checkout.write("my.yaml", OWN)
    if not (checkout.root / MODEL).exists():
        done = checkout.snakemake(MODEL, "--configfile", "my.yaml")
        assert done.code == 0, done.said
    return checkout


@pytest.fixture
def untuned(half):
    """All of it with `export: base`."""
    if not (half.root / "results/tables/summary.html").exists():
        done = half.snakemake("--configfile", "my.yaml", "--config", "export=base")
        assert done.code == 0, done.said
    return half


@pytest.fixture
def complete(untuned):
    """All of it."""
    if not (untuned.root / "results/sft_model.pt").exists():
        done = untuned.snakemake("--configfile", "my.yaml")
        assert done.code == 0, done.said
    return untuned


def test_a_report_of_half_a_run_stands_and_says_what_makes_the_rest(half):
    of_a_study = half.write("results/tables/source_ablation.html", "<p>Which source helped</p>")
    said, text = report(half, "half.html")
    of_a_study.unlink()
    assert "Which source helped, in numbers" in text, "of a target of its own, once it is made"
    assert "none of the report's" in said
    assert "To make them: snakemake --cores 8 --configfile my.yaml; then" in said
    assert "This is the record of one run" in text


def test_a_report_without_tuning_has_all_other_chapters(untuned):
    said, text = report(untuned, "untuned.html", "--config", "export=base")
    assert "of the report's" not in said, "nothing is missing"
    assert chapters(text) == [chapter for chapter in CHAPTERS if chapter != TUNING]
    assert "left out in this run" in text
    assert "none: export is base" in (untuned.root / "results/tables/summary.html").read_text(
        encoding="utf-8"
    )


def test_a_whole_report_has_every_chapter_in_order(complete):
    said, text = report(complete, "complete.html")
    assert "of the report's" not in said, "nothing is missing"
    assert chapters(text) == CHAPTERS
    assert "left out in this run" not in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_part_is_shown_on_a_phone(complete, scheme, page, seen):
    if not (complete.root / "complete.html").exists():
        report(complete, "complete.html")
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme=scheme)
    page.goto((complete.root / "complete.html").as_uri())
    page.get_by_text("Verdict", exact=False).first.wait_for()
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 254)", "dark": "rgb(20, 24, 29)"}[scheme]
    assert [
        word for word in page.locator("#app nav a").all_inner_texts() if word[:1].isdigit()
    ] == CHAPTERS
    for chapter in CHAPTERS:
        page.get_by_text(chapter, exact=True).first.click()
        rows = page.locator("nav tbody tr")
        rows.first.wait_for()
        for i in range(rows.count()):
            rows.nth(i).locator("a").first.click()
            assert shows(page), f"{chapter}, part {i + 1}"
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], (
                f"{chapter}, part {i + 1}"
            )
        page.locator("nav nav a").first.click()
    assert not seen.complaints()
    assert not seen.dialogs
    assert not [url for url in seen.requests if not url.startswith(("file:", "data:", "blob:"))], (
        "offline"
    )


def shows(page):
    """Waits for a figure that has a size, or a page that has words; false when neither comes."""
    part = page.locator("#app > div > nav + div").locator("img, iframe").first
    part.wait_for()
    if part.evaluate("part => part.tagName") == "IMG":
        return part.evaluate("part => part.decode().then(() => part.naturalWidth > 100)")
    inside = part.content_frame.locator("body h1")
    inside.wait_for()
    return bool(inside.inner_text())
