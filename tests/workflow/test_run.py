"""The workflow as a user runs it: own parquet, five lines of config, one command; then what
reruns what.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

OWN = """\
sources: [{path: "my/*.parquet", text: body}]
preset: smoke
train: {steps: 24, eval_every: 12, save_every: 8}
"""
MODEL = "results/final_model.pt"


@pytest.fixture
def finished(checkout, own_parquet):
    """The run after `snakemake … results/final_model.pt`; done once, found finished by the later
    tests.
    """
    checkout.write("my.yaml", OWN)
    if not (checkout.root / MODEL).exists():
        done = checkout.snakemake(MODEL, "--configfile", "my.yaml")
        assert done.code == 0, done.said
    return checkout


def dry(checkout, *more):
    done = checkout.snakemake("-n", MODEL, "--configfile", "my.yaml", *more)
    assert done.code == 0, done.said
    return done


def test_own_parquet_becomes_a_model_that_loads_without_pickle(finished):
    model = torch.load(finished.root / MODEL, weights_only=True)
    assert model["step"] == 24
    assert all(torch.isfinite(w.float()).all() for w in model["weights"].values())


def test_it_leaves_logs_metrics_and_manifests(finished):
    results = finished.root / "results"
    for name in [
        "logs/training.log",
        "logs/training_metrics.csv",
        "tokenizer/tokenizer.json",
        "data/processed/train.idx",
    ]:
        assert (results / name).stat().st_size > 0, name
    assert list((results / "logs/runs").rglob("events.out.tfevents.*"))
    record = json.loads((results / "final_model.pt.manifest.json").read_text())
    assert {"inputs", "config", "code", "versions", "seed"} <= set(record)
    trained_on = {Path(i["path"]).name: i["sha256"] for i in record["inputs"]}
    packed = json.loads((results / "data/processed/train.bin.manifest.json").read_text())
    assert trained_on["train.bin"] == packed["artefact"]["sha256"]


def test_a_finished_run_has_nothing_left_to_do(finished):
    assert "Nothing to be done" in dry(finished).said


def test_a_comment_in_the_library_retrains_nothing_and_is_said(finished):
    file = finished.root / "snakelm/training/pretraining.py"
    before = file.read_text()
    try:
        file.write_text(before + "\n# a remark\n")
        said = dry(finished).said
    finally:
        file.write_text(before)
    assert "Nothing to be done" in said
    assert "was made by another version" in said
    assert "only comments or docstrings differ" in said


@pytest.mark.parametrize(
    ("change", "reruns"),
    [
        ("train: {lr: 0.03}", {"train"}),
        ("train: {log_every: 3, keep: 7}", set()),
        ("prepare: {shards: 3}", None),
        (
            "deduplicate: {threshold: 0.9}",
            {
                "deduplicate",
                "train_tokenizer",
                "prepare_shard",
                "prepare_data",
                "baseline",
                "train",
            },
        ),
    ],
    ids=["train.lr", "what is only shown", "shards", "deduplicate"],
)
def test_what_a_changed_key_reruns(finished, change, reruns):
    finished.write("more.yaml", change)
    listed = dry(finished, "more.yaml").jobs()
    if reruns is None:
        assert "train_tokenizer" not in listed
    else:
        assert listed == reruns


def test_a_key_changed_and_changed_back_finds_the_earlier_model(finished):
    finished.write("more.yaml", "train: {lr: 0.03}")
    dry(finished, "more.yaml")
    assert "Nothing to be done" in dry(finished).said


def test_the_model_is_made_again_from_its_checkpoint_byte_for_byte(finished):
    path = finished.root / MODEL
    before = path.read_bytes()
    path.unlink()
    done = finished.snakemake(MODEL, "--configfile", "my.yaml")
    assert done.code == 0, done.said
    assert path.read_bytes() == before


HOSTILE = ["my results", "it's", 'a"b', "$(touch pwned)", "../beside", "a;touch pwned"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_with_shell_characters_are_only_names(finished, name):
    data = finished.root / "in" / name.replace("../", "up-")
    data.mkdir(parents=True, exist_ok=True)
    shutil.copy(finished.root / "my/notes.parquet", data / "x.parquet")
    source = json.dumps(
        {"path": f"{data.relative_to(finished.root)}/*.parquet", "text": "body", "name": "own"}
    )
    finished.write(
        "hostile.yaml", f"preset: smoke\nresults: {json.dumps(name)}\nsources: [{source}]\n"
    )
    target = f"{name}/data/sampled/own.parquet"
    done = finished.snakemake(target, "--configfile", "hostile.yaml")
    assert done.code == 0, done.said
    assert (finished.root / target).exists()
    assert not list(finished.root.rglob("pwned"))
