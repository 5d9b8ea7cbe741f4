"""Figures stand for every kind of run, are valid SVG, fetch nothing, and are the same bytes from
the same numbers.
"""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from snakelm.analysis.figures.data import document_lengths, draw_funnel
from snakelm.analysis.figures.style import DARK
from snakelm.analysis.figures.training import smooth
from snakelm.analysis.funnel import FunnelStage, funnel
from snakelm.analysis.plot import FIGURES
from snakelm.errors import UserError

CASES = ("full run", "header only", "one row", "one evaluation", "nothing but nan", "overlap")


@pytest.fixture
def rows(request, row, whole_run):
    """The rows of the case that the test names."""
    nan = {
        name: "nan"
        for name in ("loss", "lr", "grad_norm", "tokens_per_second", "mfu", "val_loss", "val_bpb")
    }
    return {
        "full run": whole_run,
        "header only": [],
        "one row": [row(5)],
        "one evaluation": [row(5, loss="", val_loss=2.0, val_bpb=1.5)],
        "nothing but nan": [row(5, **nan), row(10, **nan)],
        "overlap": whole_run[:12] + whole_run[8:],
    }[request.param]


@pytest.mark.parametrize("rows", CASES, indirect=True)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_stands_for_every_kind_of_run(name, rows, make_record, tmp_path):
    record, path = make_record(rows), tmp_path / "figure.svg"
    FIGURES[name](record, path)
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    assert root.tag.endswith("}svg")
    assert root.get("viewBox")
    assert not [e for e in root.iter() if e.tag.endswith(("}script", "}text", "}image"))]
    links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
    assert all(link.startswith("#") for link in links), "only to glyphs in the same file"


@pytest.mark.parametrize("name", FIGURES)
def test_same_numbers_same_bytes(name, whole_run, make_record, tmp_path):
    record = make_record(whole_run)
    for i in range(2):
        FIGURES[name](record, tmp_path / f"{i}.svg")
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "0.svg").read_bytes()


def test_each_colour_that_a_figure_uses_has_its_dark_one(whole_run, make_record, tmp_path):
    record = make_record(whole_run)
    for name, draw in FIGURES.items():
        draw(record, tmp_path / "figure.svg")
        root = ET.fromstring((tmp_path / "figure.svg").read_text(encoding="utf-8"))
        styles = [part.strip() for e in root.iter() for part in e.get("style", "").split(";")]
        colours = {
            part.split(": ")[1] for part in styles if part.startswith(("fill: #", "stroke: #"))
        }
        assert colours <= set(DARK), f"{name} is unreadable in the dark: {colours - set(DARK)}"


def test_smooth_keeps_lines_straight_and_lengths():
    line = np.linspace(3, 9, 200)
    assert np.allclose(smooth(line), line), "a centred average doesn't move a straight line"
    assert smooth(np.array([4.0])).tolist() == [4.0]
    assert smooth(np.zeros(0)).size == 0
    noisy = line + np.random.default_rng(0).normal(0, 0.5, line.size)
    assert np.std(smooth(noisy) - line) < 0.5 * np.std(noisy - line)


def test_funnel_adds_up(manifest, make_record):
    artefacts = [
        manifest(
            "sampled/docs.parquet",
            "sample_data",
            counts={
                "read": 100,
                "kept": 90,
                "null": 4,
                "empty": 5,
                "invalid": {"not UTF-8": 1},
                "taken": 80,
            },
        ),
        manifest(
            "sampled/web.parquet", "sample_data", counts={"read": 50, "kept": 50, "taken": 50}
        ),
        manifest(
            "documents.parquet",
            "deduplicate",
            sources={
                "docs": {"read": 80, "exact": 10, "near": 5, "kept": 65},
                "web": {"read": 50, "exact": 0, "near": 1, "kept": 49},
            },
        ),
        manifest(
            "train.bin",
            "prepare_data",
            train={"documents": 112, "tokens": 9000},
            val={"documents": 2, "tokens": 99},
        ),
    ]
    stages = funnel(make_record([], artefacts=artefacts))
    assert [(s.name, s.total) for s in stages] == [
        ("read", 150),
        ("sampled", 130),
        ("without exact copies", 120),
        ("without near copies", 114),
        ("for training", 112),
        ("held out", 2),
    ]
    assert stages[1].dropped == {
        "null": 4,
        "empty": 5,
        "not UTF-8": 1,
        "not sampled (fraction, limit)": 10,
    }
    for before, after in pairwise(stages[:4]):
        assert before.total - sum(after.dropped.values()) == after.total
    assert stages[4].tokens == 9000


def test_what_a_weight_repeats_makes_no_funnel_wider(manifest, make_record, tmp_path):
    artefact = manifest(
        "train.bin",
        "prepare_data",
        train={"documents": 308, "different": 198, "tokens": 9000},
        val={"documents": 14, "different": 14, "tokens": 99},
    )
    stages = funnel(make_record([], artefacts=[artefact]))
    assert [(s.total, s.repeated) for s in stages] == [(198, 110), (14, 0)]
    draw_funnel(stages, tmp_path / "funnel.svg")
    drawn = (tmp_path / "funnel.svg").read_text(encoding="utf-8")
    assert "198 (+110 again) · 9,000 tokens" in drawn or "198 (+110 again) · 9k tokens" in drawn


def test_funnel_tells_of_the_checks_that_were_on(manifest, make_record):
    quality = {
        "docs": {"read": 65, "kept": 60, "dropped": {"min_words": 4, "no_curly_bracket": 1}},
        "web": {"read": 49, "kept": 40, "dropped": {"min_words": 9}},
    }
    clean = {
        "docs": {"read": 60, "kept": 59, "dropped": {"evaluation text": 1}},
        "web": {"read": 40, "kept": 40},
    }
    artefacts = [
        manifest("decontaminated/documents.parquet", "decontaminate", sources=clean),
        manifest("quality/documents.parquet", "quality", sources=quality),
    ]
    stages = funnel(make_record([], artefacts=artefacts))
    assert [(s.name, s.total) for s in stages] == [
        ("after quality rules", 100),
        ("decontaminated", 99),
    ]
    assert [s.dropped for s in stages] == [
        {"min_words": 13, "no_curly_bracket": 1},
        {"evaluation text": 1},
    ]


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"counts": None},
        {"counts": {"read": "many", "invalid": 3}},
        {"counts": {"read": None, "taken": [], "kept": {}}},
    ],
)
def test_funnel_of_manifests_that_say_nothing(counts, manifest, make_record, tmp_path):
    stages = funnel(
        make_record([], artefacts=[manifest("sampled/docs.parquet", "sample_data", **counts)])
    )
    draw_funnel(stages, tmp_path / "funnel.svg")
    ET.parse(tmp_path / "funnel.svg")


def test_a_manifest_that_is_no_json_is_named(manifest, make_record):
    artefact = manifest("sampled/docs.parquet", "sample_data", counts={"read": math.nan})
    with pytest.raises(UserError, match=r"docs\.parquet\.manifest\.json: not JSON: NaN"):
        make_record([], artefacts=[artefact])


def test_funnel_draws_names_that_mean_something_to_matplotlib(tmp_path):
    names = ["$x$", "a_b^{", "_hidden", "--><script>", "x" * 300, "sixth"]
    counts = {name: 10 - i for i, name in enumerate(names)}
    draw_funnel(
        [
            FunnelStage("read", counts),
            FunnelStage("sampled", counts, {"$\\frac{": 3, "--><script>": 1, "\n": 1}),
        ],
        tmp_path / "f.svg",
    )
    assert not [e for e in ET.parse(tmp_path / "f.svg").iter() if "script" in e.tag]


@pytest.mark.parametrize("lengths", [[], [0, 0], [7], [5, 5, 5], [1, 10, 100_000]], ids=str)
def test_document_lengths_of_any_corpus(lengths, tmp_path):
    document_lengths(np.array(lengths, np.int64), 256, tmp_path / "lengths.svg")
    ET.parse(tmp_path / "lengths.svg")
