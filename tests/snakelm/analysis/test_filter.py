"""The filter's figure and table: drawn from what was measured, and nothing from a corpus becomes
markup.
"""

import xml.etree.ElementTree as ET

import pytest

from snakelm.analysis.figures.filter import filter_threshold
from snakelm.analysis.funnel import funnel
from snakelm.analysis.manifests import FilterManifest
from snakelm.analysis.tables.filter import write_filter
from snakelm.filter.records import FilterRecord, NearThreshold

QUALITY = {"texts": 16, "accuracy": 0.9, "precision": 0.8, "recall": 1.0}
CURVE = [
    {**QUALITY, "threshold": i / 100, "precision": None if i == 100 else 0.8} for i in range(101)
]
TABLE = {
    "labels": 64,
    "band": [0.4, 0.6],
    "threshold": 0.5,
    "held_out": {kind: QUALITY for kind in ("setfit", "static", "cascade", "frozen")},
    "curve": {kind: CURVE for kind in ("setfit", "static", "cascade")},
    "documents": 100,
    "kept": {"setfit": 0.4, "static": 0.41, "cascade": 0.4},
    "asked": 0.05,
    "agreement": {"setfit": 1.0, "static": 0.98, "cascade": 0.995},
    "documents_per_cpu_second": {"setfit": 50.0, "static": 20_000.0, "cascade": 700.0},
}
COUNTS = {"documents": 100, "kept": 40, "by_setfit": 5, "bytes": 5000, "kept_bytes": 2000}
NEAR = {
    "threshold": 0.5,
    "sources": {
        "<b>web</b>": {
            "kept": [{"score": 0.51, "id": "0", "text": "<script>alert(1)</script>"}],
            "dropped": [],
        }
    },
}


@pytest.mark.parametrize(
    "curves", [TABLE["curve"], {}, {"setfit": CURVE}], ids=["all", "none", "setfit alone"]
)
def test_the_figure_stands_for_every_table(curves, tmp_path):
    filter_threshold(FilterRecord(**{**TABLE, "curve": curves}), tmp_path / "a.svg")
    assert ET.fromstring((tmp_path / "a.svg").read_text(encoding="utf-8")).tag.endswith("}svg")
    filter_threshold(FilterRecord(**{**TABLE, "curve": curves}), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_table_says_the_numbers_and_escapes_the_texts(tmp_path):
    write_filter(
        FilterRecord(**TABLE),
        FilterManifest.model_validate({"filter": "cascade", "sources": {"<b>web</b>": COUNTS}}),
        NearThreshold(**NEAR),
        tmp_path / "filter.html",
    )
    html = (tmp_path / "filter.html").read_text(encoding="utf-8")
    assert "<script>" not in html
    assert "<b>web" not in html
    assert "&lt;script&gt;alert(1)" in html
    for said in ("40.0%", "99.50%", "20,000", "Dropped</b>: none", "0.510"):
        assert said in html


def test_a_table_of_few_documents_has_gaps_not_errors(tmp_path):
    little = {**TABLE, "agreement": {}, "documents_per_cpu_second": {}, "documents": 0}
    nothing = {name: 0 for name in COUNTS}
    write_filter(
        FilterRecord(**little),
        FilterManifest.model_validate({"filter": "static", "sources": {"a": nothing}}),
        NearThreshold(threshold=0.5, sources={}),
        tmp_path / "f.html",
    )
    assert "static student" in (tmp_path / "f.html").read_text(encoding="utf-8")


def test_the_funnel_shows_the_filter_as_a_stage(make_record, whole_run, manifest):
    artefact = manifest(
        "filtered/documents.parquet", "filter_dataset", sources={"web": COUNTS, "docs": COUNTS}
    )
    (stage,) = funnel(make_record(whole_run, artefacts=[artefact]))
    assert stage.name == "academic"
    assert stage.documents == {"web": 40, "docs": 40}
    assert stage.dropped == {"not academic": 120}
