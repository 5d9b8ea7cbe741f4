"""Pages are inert whatever stands in a corpus, a model's text or a manifest; and they say what the
numbers say.
"""

import json
import re

import pytest

from snakelm.analysis.funnel import funnel
from snakelm.analysis.plot import LAST_TABLES, TABLES
from snakelm.analysis.tables.sources import write_sources
from tests.browser import PHONE
from tests.snakelm.analysis.parsed_page import ATTACKS, ParsedPage

PAGES = {**TABLES, **LAST_TABLES}
ALLOWED = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "h1",
    "h2",
    "p",
    "div",
    "span",
    "section",
    "pre",
    "small",
}
ALLOWED |= {"b", "table", "thead", "tbody", "tr", "th", "td"}


@pytest.fixture
def poisoned(make_record, manifest, whole_run, tmp_path):
    """A record with an attack in every place that text comes from."""

    def make(attack: str):
        samples = tmp_path / "samples.jsonl"
        samples.write_text(
            json.dumps({"step": 100, "prompt": attack, "text": attack}) + "\n", encoding="utf-8"
        )
        counts = {"read": 2, "kept": 1, "taken": 1, "invalid": {attack: 1}}
        package = {
            "package": attack,
            "version": attack,
            "licence": attack,
            "documents": attack,
            "characters": 3,
        }
        artefacts = [
            manifest(
                "raw/docs.parquet",
                "collect",
                collected={"packages": [package]},
                versions={attack: attack},
            ),
            manifest(
                "sampled/docs.parquet",
                "sample_data",
                counts=counts,
                inputs=[{"path": attack, "sha256": attack}],
            ),
            manifest(
                "documents.parquet",
                "deduplicate",
                sources={attack: {"kept": 1, "near": 0}},
                host={"system": attack},
            ),
            manifest(
                "model.pt",
                "train",
                result={"fingerprint": attack, "parameters": 5},
                host={attack: attack},
            ),
        ]
        timings = tmp_path / f"{re.sub(r'[^a-z]', '_', attack)[:40]}.tsv"
        timings.write_text(
            f"s\tcpu_time\tmax_rss\n1.5\t{attack.splitlines()[0]}\t10\n", encoding="utf-8"
        )
        path = re.sub(r"[\x00-\x1f]", "", attack)  # which no path of a configuration may hold
        config = {"sources": [{"path": path, "name": "x"}]}
        return make_record(
            whole_run,
            config,
            samples=samples,
            artefacts=artefacts,
            timings=[timings],
            rerun=f"snakemake {attack}",
        )

    return make


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
@pytest.mark.parametrize("name", PAGES)
def test_text_stays_text(name, attack, poisoned, tmp_path):
    PAGES[name](poisoned(attack), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    parsed = ParsedPage(text)
    assert parsed.tags <= ALLOWED
    assert parsed.attributes <= {
        "class",
        "style",
        "charset",
        "name",
        "content",
        "http-equiv",
        "lang",
    }
    assert "default-src 'none'" in text
    assert not set("\x00\x1b\u202e") & set(text)
    if "\x00" not in attack and name != "cost":  # which shows no text but names of steps
        assert " ".join(attack.split()) in " ".join(parsed.text.split()), (
            "the words are there to be read"
        )


@pytest.mark.parametrize("name", PAGES)
def test_a_page_runs_nothing_and_fits_a_phone(name, poisoned, tmp_path, page, seen):
    PAGES[name](poisoned("".join(ATTACKS[:5])), tmp_path / "page.html")
    page.set_viewport_size(PHONE)
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("script, img, svg").count() == 0
    assert not seen.dialogs
    assert not seen.complaints()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_stands_without_rows_samples_or_manifests(name, make_record, tmp_path):
    PAGES[name](make_record([]), tmp_path / "page.html")
    assert ParsedPage((tmp_path / "page.html").read_text(encoding="utf-8")).tags <= ALLOWED


def test_summary_shows_the_numbers(make_record, manifest, whole_run, tmp_path):
    model = manifest(
        "model.pt",
        "train",
        result={
            "parameters": 1_234_567,
            "val_bpb": 1.0625,
            "val_bpb_clean": 1.2345,
            "val_bpb_before": 3.75,
            "continues": {"fingerprint": "0123456789abcdef", "step": 41},
            "regime": {"name": "repeated", "epochs": 8.0, "settings": {"dropout": 0.1}},
            "weights_of_step": 2_500,
        },
        base={"name": "somewhere/base", "sha256": "cd" * 32},
    )
    PAGES["summary"](
        make_record(whole_run, artefacts=[model], rerun="snakemake it"), tmp_path / "page.html"
    )
    text = ParsedPage((tmp_path / "page.html").read_text(encoding="utf-8")).text
    for part in (
        "1.062",
        "1.234",
        "1.100",
        "1.500",
        "2.800",
        "1,234,567",
        "snakemake it",
        "100 of 100",
        "somewhere/base (SHA-256 cdcdcdcdcdcd…): held-out text 3.750 bits per byte before",
        "step 41 of run 0123456789abcdef",
        "dropout 0.1 (repeated text)",
        "those of step 2,500",
    ):
        assert part in text, part


def test_summary_has_the_right_answers_of_both_models(make_record, whole_run, tmp_path):
    share = {"value": 0.554, "low": 0.49, "high": 0.61}
    how = {"as": "text", "cut": 0, "examples": []}
    tasks = {
        "<b>choice": {
            "kind": "choice", "items": 9, "shots": 0, "builtin": None, "chance": 0.25,
            "base": {**how, "acc": share, "acc_norm": {**share, "value": 0.9}},
        },
        "greedy": {
            "kind": "greedy", "items": 9, "shots": 0, "builtin": "answers",
            "base": {**how, "exact": {"value": 0.0, "low": 0.0, "high": 0.01}},
            "tuned": {**how, "exact": share},
        },
        "left": {"kind": "greedy", "left_out": "needs conversations"},
    }  # fmt: skip
    evaluation = {"held_out": {}, "tasks": tasks}
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    PAGES["summary"](
        make_record(whole_run, evaluation=tmp_path / "evaluation.json"), tmp_path / "page.html"
    )
    parsed = ParsedPage((tmp_path / "page.html").read_text(encoding="utf-8"))
    for part in ("<b>choice25%55% (49%–61%)–", "greedy–0% (0%–1%)55% (49%–61%)"):
        assert part in parsed.text, part
    assert "b" not in parsed.tags
    assert "left" not in parsed.text.split("Right answers")[1].split("Settings")[0]


def test_samples_stand_newest_first_with_their_loss(make_record, whole_run, tmp_path):
    samples = tmp_path / "samples.jsonl"
    samples.write_text(
        "".join(json.dumps({"step": s, "prompt": "p", "text": f"t{s}"}) + "\n" for s in (20, 40))
    )
    PAGES["samples"](make_record(whole_run, samples=samples), tmp_path / "page.html")
    text = ParsedPage((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert text.index("t40") < text.index("t20")
    assert "1.600 bits per byte" in text


def test_the_page_of_sources_counts_languages_and_personal_data(manifest, make_record, tmp_path):
    found = {"found": {"email": 1234}, "documents_with": {"email": 7}, "excepted": {"ip": 3}}
    artefacts = [
        manifest(
            "personal_data/documents.parquet",
            "personal_data",
            action="mask",
            sources={"web": {"read": 9, "kept": 9, **found}},
        ),
        manifest(
            "languages/documents.parquet",
            "languages",
            sources={"web": {"read": 9, "kept": 6, "dropped": {"other languages": 3}}},
            languages={
                "it": {"web": {"documents": 6, "bytes": 2500, "kept": 6}},
                "de": {"web": {"documents": 3, "bytes": 900, "kept": 0}},
            },
        ),
    ]
    record = make_record([], artefacts=artefacts)
    write_sources(record, tmp_path / "sources.html")
    html = (tmp_path / "sources.html").read_text(encoding="utf-8")
    for said in ("Personal data: mask", "1,234", "Documents by language", "2.5 kB", "email"):
        assert said in html
    assert [(s.name, s.total, s.dropped) for s in funnel(record)] == [
        ("looked through for personal data", 9, {}),
        ("in the languages to keep", 6, {"other languages": 3}),
    ]
