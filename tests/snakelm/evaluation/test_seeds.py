"""Runs that differ in their seed alone are found by their manifests, and others are named with what
differs.
"""

import json
import re

import pytest

from snakelm.evaluation.seeds import difference_but_seed, mean_and_deviation, scatter
from snakelm.workflow.manifest import manifest_path


@pytest.fixture
def make_run(tmp_path):
    """`make_run(name, seed, bpb, train=…, code=…, text=…)`: a results folder with manifests and an
    evaluation; ``seed`` is that of training, ``text`` the digest of the held-out documents.
    """

    def make(
        name,
        seed,
        bpb=1.5,
        *,
        train=None,
        code="c",
        file="f" * 64,
        acc=0.5,
        text="t",
        tokens="k",
        learned=("a", "b", "c"),
        preferences=None,
    ):
        folder = tmp_path / name
        settings = {"train": {"lr": 0.045, "seed": seed, **(train or {})}}
        measured = {"held_out_text": text} if text else {}
        tokenizer = {"path": f"{name}/tokenizer/meta.json", "sha256": tokens}
        raw = {
            "path": f"{name}/data/raw/synthetic.parquet",
            "sha256": str(seed) * 8,
        }  # a seed may decide it
        own = {"path": "my/notes.parquet", "sha256": file}
        read = [
            {"path": f"{name}/data/processed/train{kind}.bin", "sha256": sha256}
            for kind, sha256 in zip(("", "_sft_packed", "_preferences"), learned, strict=True)
        ]
        preferring = {"preferences": {"seed": seed, **(preferences or {})}}
        last = [("preference_model.pt", preferring, read[2:])] if preferences is not None else []
        for artefact, config, inputs in (
            *last,
            ("data/sampled/notes.parquet", {"sources": [{"path": "my/notes.parquet"}]}, [own, raw]),
            ("tokenizer/meta.json", {"tokenizer": {"vocab_size": 8192}}, []),
            ("final_model.pt", settings, [tokenizer, *read[:1]]),
            ("sft_model.pt", {"train": {"device": "cpu"}, "sft": {"seed": seed}}, read[1:2]),
        ):
            path = manifest_path(folder / artefact)
            path.parent.mkdir(parents=True, exist_ok=True)
            record = {
                "manifest": 1,
                "seed": seed,
                "config": config,
                "inputs": inputs,
                "code": {"meaning": code},
                "result": measured,
            }
            path.write_text(json.dumps(record))
        interval = {"value": bpb, "low": bpb - 0.1, "high": bpb + 0.1}
        rates = {"all": interval, "clean": None, "answers": None}
        scores = {"acc": {**interval, "value": acc}, "acc_norm": {**interval, "value": acc}}
        quiz = {"kind": "choice", "items": 9, "shots": 0, "builtin": None, "chance": 0.5}
        tasks = {
            "quiz": {**quiz, "base": {**scores, "as": "text", "cut": 0, "examples": []}},
            "asked": {"kind": "greedy", "left_out": "no"},
        }
        (folder / "tables").mkdir()
        (folder / "tables/evaluation.json").write_text(
            json.dumps({"held_out": {"base": rates}, "tasks": tasks})
        )
        return folder

    return make


def test_mean_and_deviation_over_seeds(make_run):
    first, *others = (make_run(f"r{i}", i, 1.5 + i / 10, acc=0.4 + i / 10) for i in range(3))
    found = scatter(first, others)
    assert [run.seed for run in found.runs] == [0, 1, 2]
    assert not found.left_out
    assert found.measures["base · held-out text"].mean == pytest.approx(1.6)
    assert found.measures["base · held-out text"].sd == pytest.approx(0.1)
    assert found.measures["base · quiz · acc"].values == pytest.approx([0.4, 0.5, 0.6])


def test_deviation_needs_two():
    assert mean_and_deviation([2.0]) == (2.0, None)
    assert mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"train": {"lr": 0.02}}, "train.lr differs"),
        ({"code": "d"}, "another version of the code"),
        ({"file": "e" * 64}, "other files"),
        ({"text": "u"}, "other held-out text; .*vary train.seed"),
        ({"text": None}, "nobody knows on what text"),
        ({"tokens": "l"}, "another tokenizer; .*vary train.seed"),
    ],
    ids=["setting", "code", "data", "held-out text", "unknown text", "tokenizer"],
)
def test_what_else_differs_is_named(make_run, change, why):
    ours, theirs = make_run("ours", 1), make_run("theirs", 2, **change)
    assert re.search(why, difference_but_seed(ours, theirs))
    assert scatter(ours, [theirs]).left_out[0].why == difference_but_seed(ours, theirs)
    assert scatter(ours, [theirs]).measures == {}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"preferences": {"beta": 0.5}}, "preferences.beta differs"),
        ({"preferences": None}, "one of the two has preference_model.pt"),
        ({"learned": ("x", "b", "c")}, "final_model.pt was trained on another train.bin"),
        ({"learned": ("a", "x", "c")}, "sft_model.pt was trained on another train_sft_packed.bin"),
        ({"learned": ("a", "b", "x")}, "preference_model.pt was trained on another train_pref"),
    ],
    ids=["preferences", "none", "text", "conversations", "pairs"],
)
def test_what_the_last_model_learned_counts_like_the_rest(make_run, change, why):
    """The tuned model that is measured is the one with preferences. And a document that a run
    forgets, or a conversation that was changed in its file, is in no setting and in no held-out
    text.
    """
    alike = {"preferences": {"beta": 0.1}}
    ours, same = make_run("ours", 1, **alike), make_run("same", 2, **alike)
    assert difference_but_seed(ours, same) is None
    assert re.search(why, difference_but_seed(ours, make_run("theirs", 3, **{**alike, **change})))


def test_settings_that_change_no_result_may_differ(make_run):
    assert (
        difference_but_seed(make_run("ours", 1), make_run("theirs", 2, train={"log_every": 3}))
        is None
    )


def test_the_same_seed_is_no_second_sample(make_run):
    ours, theirs, again = make_run("ours", 1), make_run("theirs", 2), make_run("again", 2)
    found = scatter(ours, [theirs, again, make_run("too", 1)])
    assert [run.seed for run in found.runs] == [1, 2]
    assert [one.why for one in found.left_out] == [
        f"it has the same train.seed as {theirs.as_posix()}",
        f"it has the same train.seed as {ours.as_posix()}",
    ]


def test_earlier_runs_compare_by_the_bytes_of_val_bin(make_run):
    def earlier(name, seed, sha256):
        folder = make_run(name, seed, text=None)
        path = manifest_path(folder / "final_model.pt")
        record = json.loads(path.read_text())
        record["inputs"].append({"path": "x/val.bin", "sha256": sha256})
        path.write_text(json.dumps(record))
        return folder

    ours, same, other = earlier("a", 1, "aa"), earlier("b", 2, "aa"), earlier("c", 3, "bb")
    assert [run.seed for run in scatter(ours, [same, other]).runs] == [1, 2]


def test_a_run_without_evaluation_or_with_other_parts_is_named(make_run):
    ours, theirs, tuned = make_run("ours", 1), make_run("theirs", 2), make_run("tuned", 3)
    (theirs / "tables/evaluation.json").unlink()
    assert "evaluate that run first" in difference_but_seed(ours, theirs)
    manifest_path(tuned / "sft_model.pt").unlink()
    assert "sft_model.pt" in difference_but_seed(ours, tuned)


def test_one_run_alone_has_no_scatter(make_run):
    ours = make_run("ours", 1)
    assert scatter(ours, []).as_json() == {
        "runs": [{"results": ours.as_posix(), "seed": 1}],
        "left_out": [],
        "measures": {},
    }
