"""A source ablation step by step, as the workflow runs it, on models so small that all of it takes
seconds: noise does least.
"""

import csv
import importlib.util
import io
import json
from pathlib import Path

import pytest

from snakelm.config import from_mapping, load_config
from snakelm.errors import UserError
from snakelm.workflow.manifest import manifest_path, read_manifest
from snakelm.workflow.settings import settings_file, shown_file
from snakelm.workflow.source_ablation import ablation_points
from snakelm.workflow.step import load_steps
from tests.three_sources import DOCUMENTS, PROCESSED, SOURCES, make

STEPS = load_steps()
GIVEN = {
    "preset": "smoke",
    "sources": SOURCES,
    "model": {"layers": 1, "width": 32, "head_dim": 16, "hidden": 64, "context": 32},
    "train": {
        "batch_tokens": 256,
        "micro_batch": 8,
        "sample_tokens": 0,
        "precision": "fp32",
        "start": "random",
        "embedding_lr": 0.4,
        "head_lr": 0.01,
    },
    "source_ablation": {
        "seeds": [1, 2],
        "judge_by": ["manual", "market"],
        "proxy": {"train.steps": 30},
    },
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The results folder of a finished study."""
    folder = tmp_path_factory.mktemp("study")
    make(folder)
    points = ablation_points(GIVEN, from_mapping(GIVEN), STEPS)
    bins = list(dict.fromkeys(folder / point.train_bin for point in points))
    data = ["--documents", folder / DOCUMENTS, "--tokenizer", folder / "tokenizer"]
    val_bin = ["--val-bin", folder / PROCESSED / "val.bin"]

    start(folder, "mix_sources", "--train-bin", folder / PROCESSED / "train.bin", *val_bin, *data,
          "--output", folder / "source_ablation/mixtures.json", "--mixtures", *bins)  # fmt: skip
    models = []
    for point in points:
        place = folder / point.study / point.name
        start(folder, "train_point", "--train-bin", folder / point.train_bin, *val_bin,
              "--val-overlap", folder / PROCESSED / "val_overlap.npy", *data[2:],
              "--results", place, "--threads", 1, config=point.config, place=place)  # fmt: skip
        models.append(place / "final_model.pt")
    start(folder, "judge_sources", "--models", *models, *data, "--threads", 1,
          "--mixtures", folder / "source_ablation/mixtures.json",
          "--processed", folder / PROCESSED, "--output", folder / "tables/source_ablation.json",
          "--table", folder / "tables/source_ablation.csv",
          "--weights", folder / "source_ablation/weights.yaml")  # fmt: skip
    start(folder, "plot_source_ablation", "--measured", folder / "tables/source_ablation.json",
          "--figure", folder / "figures/source_ablation.svg",
          "--table", folder / "tables/source_ablation.html")  # fmt: skip
    return folder


def start(folder, name, *given, config=None, place=None):
    """Runs a step with the settings files that the workflow would give it."""
    step, config = STEPS[name], config or from_mapping(GIVEN)
    files = [settings_file(place or folder, config, step)]
    files += [shown_file(place or folder, config, step)] if step.shown_of(config) else []
    spec = importlib.util.spec_from_file_location(f"{name}_script", step.script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--config", *files, *map(str, given)]) == 0


def test_noise_comes_last(study):
    text = (study / "tables/source_ablation.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[-1]["source"] == "noise"
    assert float(rows[-1]["effect"]) < float(rows[-2]["effect_low"])
    assert [row["verdict"] for row in rows[:2]] == ["helps", "helps"]
    assert {row["source"] for row in rows} == {"manual", "market", "noise"}


def test_each_proxy_read_its_mixture_alone(study):
    for mixture in ("full", "without~noise"):
        train_bin = study / "source_ablation" / mixture / "train.bin"
        model = study / "source_ablation" / mixture / "train.seed~1/final_model.pt"
        inputs = {Path(one["path"]).name: one["sha256"] for one in read_manifest(model)["inputs"]}
        assert inputs["train.bin"] == read_manifest(train_bin)["artefact"]["sha256"]
    plan = json.loads((study / "source_ablation/mixtures.json").read_text())
    assert [one["name"] for one in plan["mixtures"]] == [
        "full",
        "without~manual",
        "without~market",
        "without~noise",
    ]


def test_the_weights_are_a_configuration(study):
    config = load_config([study / "source_ablation/weights.yaml"])
    assert {"manual", "market"} <= {source.name for source in config.sources}


def test_everything_is_written_and_vouched_for(study):
    assert (study / "figures/source_ablation.svg").read_text().count("<path") > 10
    assert "noise" in (study / "tables/source_ablation.html").read_text()
    record = study / "tables/source_ablation.json"
    listed = {Path(one["path"]).name for one in read_manifest(record)["files"]}
    assert {"source_ablation.csv", "weights.yaml"} <= listed
    assert manifest_path(study / "source_ablation/full/train.bin").is_file()


def test_a_mixture_that_was_changed_is_not_trained_on(study):
    train_bin = study / "source_ablation/full/train.bin"
    before = train_bin.read_bytes()
    train_bin.write_bytes(before[:-2] + b"\x00\x00")
    try:
        with pytest.raises(UserError, match=r"source_ablation/full/train\.bin"):
            start(study, "train_point", "--train-bin", train_bin,
                  "--val-bin", study / PROCESSED / "val.bin",
                  "--val-overlap", study / PROCESSED / "val_overlap.npy",
                  "--tokenizer", study / "tokenizer", "--results", study / "other")  # fmt: skip
    finally:
        train_bin.write_bytes(before)
