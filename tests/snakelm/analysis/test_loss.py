"""Figures and tables of loss.json and evaluation.json: for every kind of run, and whatever stands
in its texts.
"""

import copy
import json
import re
import xml.etree.ElementTree as ET

import pytest

from snakelm.analysis.figures.evaluation import evaluation
from snakelm.analysis.figures.loss import FIGURES
from snakelm.analysis.figures.style import DARK
from snakelm.analysis.tables.evaluation import write_evaluation
from snakelm.analysis.tables.loss import write_loss, write_tuning_change
from snakelm.errors import UserError
from snakelm.evaluation.loss_record import LossRecord, read_loss
from snakelm.evaluation.records import (
    EvaluationRecord,
    Interval,
    SeedsRecord,
    read_evaluation,
)
from snakelm.evaluation.tasks import summary
from snakelm.files import write_json

NASTY = [
    "<script>alert(1)</script>",
    "</pre></body><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "$\\frac{1}{$",
    "\u202eright to left\u202c עברית",
    "\x00\x1b[31m 🙂",
    "x" * 1_000_000,
]
RATE = {"value": 1.5, "low": 1.4, "high": 1.6}
ALONE = {"value": 1.5, "low": None, "high": None}
SPREAD = {**RATE, "quantiles": [1.0, 1.2, 1.5, 1.8, 2.1]}
MODEL = {"model": "a.pt", "parameters": 9, "step": 3, "context": 64}
LAW = {
    "points": 20,
    "power": {"value": 0.3, "low": 0.2, "high": 0.4},
    "floor": {"value": 1.0, "low": 0.0, "high": 1.2},
    "scale": {"value": 9.0, "low": 8.0, "high": 10.0},
    "residual": 0.01,
    "first_tokens": 1e5,
    "last_tokens": 1e6,
    "ahead": [{"tokens": 1e7, **RATE}],
    "measured": {"tokens": [1e5, 1e6], "loss": [2.0, 1.5]},
    "curve": {"tokens": [1e5, 1e7], "loss": [2.0, 1.3], "low": [1.9, 1.1], "high": [2.1, 1.5]},
}


def document(text, **more):
    plain = {
        "bpb_base": 1.2,
        "bpb_tuned": 1.4,
        "source": text[:40],
        "file": text[:40],
        "row": 3,
        "bytes": 5,
    }
    return {**plain, "id": "1", "clean": True, "text": text, **more}


def bins(count, **more):
    edges = list(range(1, count + 2))
    return {
        "edges": edges,
        "tokens": [5] * count,
        "bytes": [9] * count,
        "base": [2.0] * count,
        "tuned": [3.0] * count,
        **more,
    }


def complete():
    """loss.json of a tuned run."""
    return {
        "held_out": {"documents": 9, "clean_documents": 4, "tokens": 99, "bytes": 1234},
        "stages": {
            "base": {**MODEL, "all": RATE, "clean": RATE, "answers": RATE},
            "tuned": {**MODEL, "all": RATE, "clean": None, "answers": RATE},
        },
        "change": {"all": {"value": 0.8, "low": 0.7, "high": 0.9}, "answers": RATE},
        "sources": {
            f"s_{i}.x": {"documents": 3, "bytes": 9, "base": SPREAD, "tuned": SPREAD}
            for i in range(12)
        },
        "by_visible": bins(9),
        "by_frequency": bins(6, frequency_alone=[9.0] * 6),
        "reading": {"epochs": 0.3, "read": 5, "of": 9, "documents": 5, "bpb": RATE, "gap": RATE},
        "law": {"held_out": {"points": 3, "none": "3 points"}, "training": LAW},
        "hardest": [document(text) for text in NASTY],
        "easiest": [document("", row=None, file=None, clean=False)],
    }  # fmt: skip


def base_only():
    table = complete()
    table["stages"].pop("tuned")
    table["stages"]["base"]["answers"] = None
    for values in (table["by_visible"], table["by_frequency"], *table["sources"].values()):
        values.pop("tuned")
    for one in table["hardest"]:
        one.pop("bpb_tuned")
    return {**table, "change": None}


def little():
    """One document, nothing read, no law."""
    table = base_only()
    table["stages"]["base"] = {**MODEL, "all": ALONE, "clean": None, "answers": None}
    table["sources"] = {
        "docs": {"documents": 1, "bytes": 9, "base": {**ALONE, "quantiles": [1.5] * 5}}
    }
    table["by_visible"] = {
        "edges": [1, 2, 3],
        "tokens": [1, 0],
        "bytes": [3, 0],
        "base": [2.0, None],
    }
    table["by_frequency"] = {
        "edges": [0, 1],
        "tokens": [1],
        "bytes": [3],
        "base": [2.0],
        "frequency_alone": [9.0],
    }
    table["reading"] = {"epochs": 0.0, "read": 0, "of": 1, "documents": 0, "bpb": None, "gap": None}
    table["law"] = {
        "held_out": {"points": 0, "none": "0 points"},
        "training": {"points": 0, "none": "0 points"},
    }
    return {**table, "hardest": [document("a")], "easiest": []}


def tasks():
    """evaluation.json of a tuned run."""
    share = {"value": 0.5, "low": 0.3, "high": 0.7}
    choice = {"acc": share, "acc_norm": share, "as": "text", "cut": 2}
    greedy = {"exact": share, "loose": share, "as": "conversation", "cut": 0}
    choices = [
        {
            "question": text,
            "choices": [text, "b"],
            "gold": 0,
            "loglikelihood": [-1.0, -2.0],
            "said": i % 2,
            "acc": not i % 2,
            "acc_norm": True,
            "cut": False,
        }
        for i, text in enumerate(NASTY)
    ]
    said = [
        {
            "question": text,
            "answers": [text],
            "said": text,
            "exact": not i % 2,
            "loose": not i % 2,
            "cut": False,
        }
        for i, text in enumerate(NASTY)
    ]
    return {
        "held_out": {},
        "tasks": {
            "quiz": {"kind": "choice", "items": 7, "shots": 0, "builtin": None, "chance": 0.25}
            | {stage: {**choice, "examples": choices} for stage in ("base", "tuned")},
            "asked": {"kind": "greedy", "items": 7, "shots": 0, "builtin": "answers"}
            | {stage: {**greedy, "examples": said} for stage in ("base", "tuned")},
            "gone": {"kind": "greedy", "left_out": "needs conversations <i>"},
        },
    }


SEEDS = SeedsRecord(
    **{
        "runs": [{"results": "a", "seed": 1}, {"results": "<b>", "seed": 2}],
        "left_out": [{"results": "<script>", "why": "train.lr differs"}],
        "measures": {"base · held-out text": {"values": [1.0, 2.0], "mean": 1.5, "sd": 0.7}},
    }
)
NO_SEEDS = SeedsRecord(runs=[{"results": "a", "seed": 1}], left_out=[], measures={})


@pytest.mark.parametrize("table", [complete, base_only, little], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_stands_for_every_run(name, table, tmp_path):
    for place in "ab":
        FIGURES[name](LossRecord(**table()), tmp_path / f"{place}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    root = ET.fromstring((tmp_path / "a.svg").read_text(encoding="utf-8"))
    assert not [e for e in root.iter() if e.tag.endswith(("}script", "}text", "}image"))]
    styles = [part.strip() for e in root.iter() for part in e.get("style", "").split(";")]
    assert {p.split(": ")[1] for p in styles if p.startswith(("fill: #", "stroke: #"))} <= set(DARK)


@pytest.mark.parametrize("table", [tasks(), {"held_out": {}, "tasks": {}}], ids=["tasks", "none"])
def test_the_figure_of_tasks_stands(table, tmp_path):
    evaluation(EvaluationRecord(**table), tmp_path / "a.svg")
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("}svg")


def harmless(page):
    """No element of a text's own, and no text at its complete length."""
    for found in ("<script", "<img", "<svg", "<i>", "onerror=alert(1)>", "\u202e", "\x00", "\x1b"):
        assert found not in page
    assert len(page) < 60_000
    return page


@pytest.mark.parametrize("table", [complete, base_only, little], ids=lambda f: f.__name__)
def test_the_table_of_loss_is_harmless_and_says_what_there_is(table, tmp_path):
    write_loss(LossRecord(**table()), tmp_path / "a.html")
    page = harmless((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert ("Nothing was tuned" in page) == (table is not complete)
    assert ("no gap to tell" in page) == (table is little)
    assert "No law of the curve on held-out text: " in page
    assert ("1.400–1.600" in page) == (table is not little)


def test_the_page_of_tuning_has_both_measures_and_the_loss_over_what_is_seen(tmp_path):
    table = complete()
    table["by_visible"]["edges"][-1], table["by_visible"]["tuned"][-1] = 1025, None
    write_tuning_change(LossRecord(**table), tmp_path / "a.html")
    page = harmless((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert "Tuning costs 0.800 bits per byte on plain text (0.700 to 0.900)" in page
    assert page.count("1.400–1.600") == 5, "answers, all, clean; clean of one stage"
    cells = re.findall(r"<div>([^<]*)</div>", page)
    assert cells[-5:] == ["8", "2.000", "3.000", "9–1,024", "2.000"]


def test_tuning_that_gains_says_so(tmp_path):
    table = complete()
    table["change"]["all"] = {"value": -0.2, "low": -0.3, "high": -0.1}
    write_loss(LossRecord(**table), tmp_path / "a.html")
    assert (
        "Tuning gains 0.200 bits per byte on plain text (0.100 to 0.300)"
        in (tmp_path / "a.html").read_text()
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": 0.2, "low": 0.1, "high": 0.3}, "Tuning costs 0.200 bits per byte"),
        (
            {"value": 0.01, "low": -0.02, "high": 0.04},
            "takes +0.010 (-0.020 to +0.040) bits per byte: maybe chance",
        ),
        ({"value": 0.2, "low": None, "high": None}, "+0.200 (one document: no interval)"),
    ],
    ids=["costs", "may be nothing", "one document"],
)
def test_tuning_claims_no_more_than_its_interval(change, said, tmp_path):
    table = complete()
    table["change"]["all"] = change
    write_loss(LossRecord(**table), tmp_path / "a.html")
    assert said in (tmp_path / "a.html").read_text()


def with_scripts():
    """loss.json of a run with text in two scripts."""
    table = complete()
    sizes = {
        "latin": {"bytes": 100, "characters": 100},
        "cyrillic": {"bytes": 90, "characters": 50},
    }
    table["sources"] = {
        name: {"documents": 3, **size, "base": SPREAD, "tuned": SPREAD}
        for name, size in sizes.items()
    }
    table["held_out"] |= {"bytes": 190, "characters": 150, "clean_bytes": 9, "clean_characters": 6}
    table["hardest"] = [document("a", bytes=90, characters=50)]
    return table


def test_scripts_are_set_side_by_side_by_character(tmp_path):
    write_loss(LossRecord(**with_scripts()), tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    for said in ("1.500 a character", "2.700 a character", "1.900 a character", "(2.160 a char"):
        assert said in page, said
    assert "compare the bits a character" in page


def test_text_of_one_byte_a_letter_speaks_of_bytes_alone(tmp_path):
    table = complete()
    for source in table["sources"].values():
        source["characters"] = source["bytes"]
    write_loss(LossRecord(**table), tmp_path / "a.html")
    assert "a character" not in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_the_legend_of_the_sources_names_the_rates_of_all_text(tmp_path, monkeypatch):
    table = with_scripts()
    table["stages"]["base"]["all"] = {**RATE, "value": 1.111}
    table["sources"]["latin"]["base"] = {**SPREAD, "value": 1.777}
    seen = []
    monkeypatch.setattr(
        "snakelm.analysis.figures.style.save",
        lambda drawing, path: seen.append(drawing.axes[0]),
    )
    FIGURES["loss_by_source"](LossRecord(**table), tmp_path / "a.svg")
    axes = seen[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[0] == "after pretraining: 1.111 of all text"
    assert not any("1.777" in name for name in names)
    diamonds = [line for line in axes.get_lines() if line.get_marker() == "D"]
    assert len(diamonds) == 4
    assert "per character" in axes.get_xlabel()


def test_the_table_of_tasks_is_harmless_and_says_what_was_left_out(tmp_path):
    write_evaluation(EvaluationRecord(**tasks()), SEEDS, tmp_path / "a.html")
    page = harmless((tmp_path / "a.html").read_text(encoding="utf-8"))
    for said in (
        "50.0%",
        "guessing 25%",
        "gone: left out, it needs",
        "2 of 7 questions",
        "Over 2 seeds",
        "train.lr differs",
    ):
        assert said in page
    assert "± 0.7000" in page


def test_what_only_one_model_lost_is_said_of_it(tmp_path):
    table = copy.deepcopy(tasks())
    table["tasks"]["asked"]["tuned"] |= {"cut": 3, "out_of_reach": 4}
    write_evaluation(EvaluationRecord(**table), NO_SEEDS, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "quiz: 2 of 7 questions are too long" in page
    assert "asked, after tuning: 3 of 7 questions are too long" in page
    assert "asked, after tuning: 4 of 7 expected answers are longer" in page
    assert "after pretraining: " not in page
    lines = list(summary(EvaluationRecord(**table)))
    assert [line for line in lines if "count as wrong" in line] == [
        "asked, tuned: 4 of 7 expected answers are longer than what a model may say, and count as "
        "wrong"
    ]


def test_one_run_alone_speaks_of_no_seeds(tmp_path):
    table = copy.deepcopy(tasks())
    for task in table["tasks"].values():
        task.pop("tuned", None)
    write_evaluation(EvaluationRecord(**table), NO_SEEDS, tmp_path / "a.html")
    page = harmless((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert "seeds" not in page


def pages(loss, evaluated, folder):
    """What the pages and figures say of a run's models."""
    folder.mkdir()
    write_loss(loss, folder / "loss.html")
    write_tuning_change(loss, folder / "change.html")
    write_evaluation(evaluated, NO_SEEDS, folder / "tasks.html")
    FIGURES["loss_by_position"](loss, folder / "position.svg")
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


def test_what_came_after_tuning_is_not_called_tuning(tmp_path):
    """The last model of a run with preferences has learned from both."""
    table = complete()
    change = table["change"]["all"]
    change |= {"value": 0.2, "low": 0.1, "high": 0.3}
    tuned = pages(LossRecord(**table), EvaluationRecord(**tasks()), tmp_path / "tuned")
    assert "Tuning costs 0.200 bits per byte" in tuned["loss.html"]
    assert not any("and preferences" in page for page in tuned.values())

    table["stages"]["tuned"]["model"] = "preference_model.pt"
    evaluated = EvaluationRecord(**tasks(), preferred=True)
    both = pages(LossRecord(**table), evaluated, tmp_path / "both")
    for name in ("loss.html", "change.html"):
        assert "Tuning and preferences cost 0.200 bits per byte" in both[name]
    for name in ("loss.html", "change.html", "tasks.html", "position.svg"):
        assert "after tuning and preferences" in both[name]
        assert not re.search("after tuning(?! and preferences)", both[name])


def test_an_interval_in_words():
    assert Interval(**RATE).in_words() == "1.500 (1.400 to 1.600)"
    assert Interval(**ALONE).in_words(".1f") == "1.5 (one document: no interval)"


def test_a_record_is_read_as_it_was_written(tmp_path):
    for kind, read, content in (
        (LossRecord, read_loss, complete()),
        (LossRecord, read_loss, little()),
        (EvaluationRecord, read_evaluation, tasks()),
    ):
        write_json(tmp_path / "a.json", kind(**content).as_json())
        assert json.loads((tmp_path / "a.json").read_text()) == content
        assert read(tmp_path / "a.json") == kind(**content)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda table: table.pop("stages"), "stages: field required"),
        (lambda table: table["held_out"].update(bytes="many"), "held_out.bytes: input should be"),
        (lambda table: table["stages"]["base"].pop("all"), "stages.base.all: field required"),
        (lambda table: table.update(hardest={}), "hardest: input should be a valid array"),
    ],
    ids=["a part", "a number", "a stage", "a list"],
)
def test_a_damaged_or_old_file_is_one_line_with_the_remedy(change, found, tmp_path):
    table = complete()
    change(table)
    write_json(tmp_path / "loss.json", table)
    with pytest.raises(UserError) as error:
        read_loss(tmp_path / "loss.json")
    assert str(error.value).startswith(f"{tmp_path / 'loss.json'}: {found}")
    assert str(error.value).endswith("; delete it and run loss again")
    assert "\n" not in str(error.value)
