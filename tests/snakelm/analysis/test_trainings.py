"""Several runs over each other: named apart, drawn whatever their metrics hold, and what differs is
found.
"""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from snakelm.analysis.figures.compare import compare
from snakelm.analysis.tables.compare import write_comparison
from snakelm.analysis.trainings import read_runs, run_names, tunings
from snakelm.data.bins import BinWriter, Meta
from snakelm.data.split import texts_digest
from snakelm.errors import UserError

COLUMNS = (
    "step,tokens,loss,lr,grad_norm,tokens_per_second,mfu,seconds,val_loss,val_bpb,val_bpb_clean\n"
)


@pytest.fixture
def folder(tmp_path):
    """`folder("a/results", rows, config={…})`: a results folder, with a finished model where there
    is a config.
    """

    def make(name, rows, tuned=None, **manifest):
        logs = tmp_path / name / "logs"
        logs.mkdir(parents=True)
        (logs / "training_metrics.csv").write_text(COLUMNS + rows, encoding="utf-8")
        if tuned is not None:
            (logs / "sft_metrics.csv").write_text(
                "step,tokens,loss,val_loss\n" + tuned, encoding="utf-8"
            )
        if manifest:
            (logs.parent / "final_model.pt.manifest.json").write_text(
                json.dumps(manifest), encoding="utf-8"
            )
        return logs.parent

    return make


def rows(scale, steps=40):
    line = "{0},{1},{2},0.1,0.5,100,0.2,{0},{3},{3},{3}\n"
    return "".join(
        line.format(i, i * 10, scale / i + 2, "" if i % 10 else scale / i)
        for i in range(1, steps + 1)
    )


def test_runs_are_drawn_over_each_other(folder, tmp_path):
    nan = "1,10,nan,nan,nan,nan,nan,nan,nan,nan,nan\n"
    redone = rows(3)[: len(rows(3)) // 2] + rows(3)
    others = [
        folder(f"{i}", text)
        for i, text in enumerate(["", nan, "1,10,3,,,,,,,,\n", redone, rows(9, 3)])
    ]
    runs = read_runs(folder("own", rows(5)), others)
    assert [len(run.training.metrics) for run in runs] == [40, 0, 1, 1, 40, 3]
    for i in range(2):
        compare([run.training for run in runs], tmp_path / f"{i}.svg")
    write_comparison(runs, tmp_path / "compare.html")
    assert ET.parse(tmp_path / "0.svg").getroot().tag.endswith("}svg")
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()
    assert "unfinished" in (tmp_path / "compare.html").read_text(encoding="utf-8")


def test_nothing_but_empty_runs_stands(folder, tmp_path):
    compare(
        [run.training for run in read_runs(folder("own", ""), [folder("a", "")])],
        tmp_path / "c.svg",
    )
    ET.parse(tmp_path / "c.svg")


def test_settings_that_differ_are_found_and_no_others(folder, tmp_path):
    shared = {
        "script": "scripts/training/train.py",
        "seed": 1,
        "inputs": [{"path": "a/train.bin", "sha256": "ab" * 32}],
    }
    own = folder(
        "own",
        rows(5),
        config={"train": {"lr": 0.1, "steps": 9}},
        result={"val_bpb": 1.25},
        **shared,
    )
    other = folder(
        "<i>b",
        rows(4),
        config={"train": {"lr": 0.2, "steps": 9}},
        result={"val_bpb": 1.5},
        **{**shared, "seed": 2},
    )
    write_comparison(read_runs(own, [other, folder("c", rows(4))]), tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    for words in ("train.lr", "0.2", "seed", "1.2500", "1.5000", "&lt;i&gt;b"):
        assert words in page, words
    for words in ("train.steps", "train.bin", "<i>b"):
        assert words not in page, words


MEASURED_ON = {
    "the same": {},
    "other text": {"text": "u"},
    "other clean documents": {"clean": "d"},
    "another tokenizer": {"tokenizer": "l"},
    "nobody knows": {"text": None},
}


@pytest.mark.parametrize("case", MEASURED_ON)
def test_only_what_was_measured_on_the_same_text_is_set_side_by_side(case, folder, tmp_path):
    def run(name, text="t", clean="c", tokenizer="k"):
        result = {"held_out_text": text, "held_out_clean": clean, "val_bpb": 1.25}
        result["val_bpb_clean"] = 1.5
        inputs = [{"path": "a/tokenizer/meta.json", "sha256": tokenizer}]
        return folder(
            name, rows(5), script="scripts/training/train.py", inputs=inputs, result=result
        )

    runs = read_runs(run("own"), [run("b", **MEASURED_ON[case])])
    write_comparison(runs, tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    first, *rest = page.split("Not to be compared")

    other_text = case in ("other text", "nobody knows")
    assert bool(rest) == other_text
    assert first.count("1.2500") == (1 if other_text else 2)
    assert first.count("1.5000") == (2 if case in ("the same", "another tokenizer") else 1)

    apart = {
        "the same": set(),
        "other text": {"val_bpb", "val_bpb_clean", "val_loss"},
        "nobody knows": {"val_bpb", "val_bpb_clean", "val_loss"},
        "other clean documents": {"val_bpb_clean"},
        "another tokenizer": {"loss", "val_loss"},
    }
    assert set(runs[1].training.apart) == apart[case]
    trainings = [run.training for run in runs]
    compare(trainings, tmp_path / "c.svg")
    alone = [trainings[0], replace(trainings[1], metrics=trainings[0].metrics, apart={})]
    compare(alone, tmp_path / "both.svg")
    differs = (tmp_path / "c.svg").read_bytes() != (tmp_path / "both.svg").read_bytes()
    assert differs == bool(apart[case])


def test_an_unfinished_run_is_known_by_the_documents_in_its_folder(folder):
    ids = np.array([5, 9], np.uint64)
    result = {"held_out_text": texts_digest(ids), "val_bpb": 1.25}
    own = folder("own", rows(5), script="scripts/training/train.py", result=result, inputs=[])
    runs = {name: folder(name, rows(5)) for name in ("same", "other", "unknown")}
    for name, these in (("same", ids), ("other", ids + np.uint64(1))):
        processed = runs[name] / "data/processed"
        processed.mkdir(parents=True)
        with BinWriter(processed / "val.bin", Meta("uint16", 10, 9, "00")) as writer:
            writer.append(np.array([9, 1, 9, 2]), np.array([2, 2]), these, 2)
    why = [run.training.apart.get("val_bpb") for run in read_runs(own, list(runs.values()))]
    assert why == [None, None, "other held-out text", "held-out text unknown"]


def test_tunings_compare_on_the_same_conversations(folder):
    own, same, other = (folder(name, "", tuned="9,90,2,3\n") for name in "abc")
    for run, text in ((own, "t"), (same, "t"), (other, "u")):
        record = {
            "script": "scripts/training/train_sft.py",
            "result": {"held_out_text": text},
            "inputs": [{"path": "tokenizer/meta.json", "sha256": "k"}],
        }
        (run / "sft_model.pt.manifest.json").write_text(json.dumps(record), encoding="utf-8")
    assert ["val_loss" in one.apart for one in tunings(own, [same, other])] == [False, False, True]


def test_a_folder_without_a_run_is_said_in_a_line(folder, tmp_path):
    with pytest.raises(
        UserError, match=r"compare: .*nowhere: no logs/training_metrics.csv; expected"
    ):
        read_runs(folder("own", ""), [tmp_path / "nowhere"])


def test_only_runs_that_were_tuned_are_compared_as_such(folder):
    own = folder("own", "", tuned="0,0,,5\n9,90,2,3\n")
    tuned_runs = tunings(own, [folder("a", ""), folder("b", "", tuned="")])
    assert [t.name for t in tuned_runs] == ["this run", "b"]
    assert tuned_runs[0].unit == "nats per learned token"


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/a", "runs/b/"], ["a", "b"]),
        (["one/results", "two/results"], ["one", "two"]),
        (["one/x", "two/x"], ["one/x", "two/x"]),
        (["results"], ["results"]),
        (["a", "a"], ["1: a", "2: a"]),
        (["../.."], ["run"]),
        (["x" * 50], ["…" + "x" * 27]),
        ([], []),
    ],
    ids=[
        "last part",
        "results left out",
        "two parts apart",
        "results alone",
        "the same twice",
        "no name",
        "long",
        "none",
    ],
)
def test_run_names(folders, names):
    assert run_names(folders) == names
