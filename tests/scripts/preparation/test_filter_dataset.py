"""filter_dataset as a user runs it: what it keeps and records, each kind, and killed in the
middle.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from snakelm.data.documents.table import SCHEMA, open_documents
from snakelm.workflow.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[3]


def command(tiny_filter, folder, kind="cascade", model=None):
    config = folder / "config.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        yaml.safe_dump({**yaml.safe_load(tiny_filter.config.read_text()), "filter": kind})
    )
    parts = [sys.executable, ROOT / "scripts/preparation/filter_dataset.py", "--config", config]
    parts += ["--documents", tiny_filter.documents, "--model", model or tiny_filter.model]
    return [
        *map(str, parts),
        "--output",
        str(folder / "documents.parquet"),
        "--log",
        str(folder / "log"),
    ]


def start(parts, **options):
    return subprocess.Popen(
        parts,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def run(tiny_filter, folder, code=0, **more):
    process = start(command(tiny_filter, folder, **more))
    _, said = process.communicate()
    assert process.returncode == code, said
    assert "Traceback" not in said
    return said


@pytest.fixture(scope="module")
def filtered(tiny_filter, tmp_path_factory):
    """Folder → what each kind made, once."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("setfit", "static", "cascade")}
    for kind, folder in folders.items():
        run(tiny_filter, folder, kind=kind)
    return folders


@pytest.mark.parametrize("kind", ["setfit", "static", "cascade"])
def test_scores_of_all_documents_and_the_kept_ones_as_they_were(kind, filtered, tiny_filter):
    folder = filtered[kind]
    before, after = (
        pq.read_table(tiny_filter.documents),
        pq.read_table(folder / "documents.parquet"),
    )
    scores = pq.read_table(folder / "scores.parquet")
    assert after.schema == SCHEMA
    columns = ["id", "source", "origin_file", "origin_row", "score", "kept", "reason", "bytes"]
    assert scores.column_names == columns
    assert scores.select(["id", "source", "origin_file", "origin_row"]) == before.select(
        columns[:4]
    )
    kept = np.asarray(scores["kept"])
    assert (kept == (np.asarray(scores["score"]) >= 0.5)).all()
    assert after == before.filter(scores["kept"])
    assert np.asarray(scores["bytes"]).sum() == sum(
        len(t.encode()) for t in before["text"].to_pylist()
    )
    deciders = {reason.split(", ")[1] for reason in scores["reason"].to_pylist()}
    assert (
        deciders
        <= {"setfit": {"setfit"}, "static": {"static"}, "cascade": {"static", "setfit"}}[kind]
    )
    assert {
        r.split(",")[0] == "above" for r in scores.filter(scores["kept"])["reason"].to_pylist()
    } == {True}


@pytest.mark.parametrize("kind", ["setfit", "static", "cascade"])
def test_the_academic_source_stays_and_the_other_goes(kind, filtered):
    counts = read_manifest(filtered[kind] / "documents.parquet")["counts"]["sources"]
    assert counts["journal"]["documents"] == counts["market"]["documents"] == 1200
    assert counts["journal"]["kept"] > 1150
    assert counts["market"]["kept"] < 50
    assert counts["journal"]["by_setfit"] == (
        1200 if kind == "setfit" else 0 if kind == "static" else counts["journal"]["by_setfit"]
    )
    assert counts["journal"]["kept_bytes"] <= counts["journal"]["bytes"]


def test_the_cascade_decides_as_setfit_and_asks_it_seldom(filtered):
    setfit, cascade = (
        pq.read_table(filtered[kind] / "scores.parquet") for kind in ("setfit", "cascade")
    )
    assert (np.asarray(setfit["kept"]) == np.asarray(cascade["kept"])).mean() >= 0.99
    by_setfit = np.array([reason.endswith("setfit") for reason in cascade["reason"].to_pylist()])
    assert by_setfit.mean() < 0.5
    assert (np.asarray(setfit["score"])[by_setfit] == np.asarray(cascade["score"])[by_setfit]).all()


def test_samples_are_those_nearest_to_the_threshold(filtered):
    near = json.loads((filtered["setfit"] / "near_threshold.json").read_text())
    scores = pq.read_table(filtered["setfit"] / "scores.parquet")
    mine = np.sort(np.asarray(scores["score"])[np.asarray(scores["source"]) == "journal"])
    shown = [sample["score"] for sample in near["sources"]["journal"]["kept"]]
    assert np.allclose(shown, mine[mine >= 0.5][:4], atol=1e-4)
    assert all(
        len(s["text"]) <= 400
        for sides in near["sources"].values()
        for side in sides.values()
        for s in side
    )


def test_nothing_is_left_beside_the_results(filtered):
    for folder in filtered.values():
        names = {f.name for f in folder.iterdir()} - {"config.yaml", "log"}
        assert names == {
            "documents.parquet",
            "documents.parquet.manifest.json",
            "scores.parquet",
            "near_threshold.json",
        }


def test_killed_in_the_middle_it_goes_on_and_ends_in_the_same_bytes(
    filtered, tiny_filter, tmp_path
):
    with open_documents(tiny_filter.documents) as file:
        assert file.num_row_groups >= 3, "a kill between groups needs some"
    process = start(command(tiny_filter, tmp_path, kind="setfit"))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".scores/*/group-000000.parquet")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "documents.parquet").exists()
    done = len(list(tmp_path.glob(".scores/*/group-*.parquet")))
    said = run(tiny_filter, tmp_path, kind="setfit")
    assert done >= 1
    assert "resumes after" in said
    for name in ("documents.parquet", "scores.parquet", "near_threshold.json"):
        assert (tmp_path / name).read_bytes() == (filtered["setfit"] / name).read_bytes(), name
    assert not (tmp_path / ".scores").exists()


def test_scores_of_another_model_or_kind_are_not_taken_up(tiny_filter, tmp_path):
    stale = tmp_path / ".scores" / ("0" * 16)
    stale.mkdir(parents=True)
    (stale / "group-000000.parquet").write_bytes(b"of another model")
    assert "resumes after" not in run(tiny_filter, tmp_path, kind="static")


def test_nothing_reaches_the_threshold(tiny_filter, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_filter.model, model)
    record = json.loads((model / "filter.json").read_text())
    (model / "filter.json").write_text(json.dumps({**record, "threshold": 1.0}))
    (model / "filter.json.manifest.json").unlink()  # else it is refused as changed
    said = run(tiny_filter, tmp_path / "out", kind="static", model=model, code=2)
    assert "no document reaches the threshold 1, the highest score is 0." in said
    assert not (tmp_path / "out" / "documents.parquet").exists()


def assert_one_error(said):
    """After the warning that no manifest speaks of the documents."""
    warning, error = said.splitlines()
    assert "no manifest" in warning
    assert error.startswith("error: ")


def test_what_is_no_filter_and_filter_none_end_in_one_line(tiny_filter, tmp_path):
    (tmp_path / "empty").mkdir()
    assert_one_error(run(tiny_filter, tmp_path, model=tmp_path / "empty", code=2))
    assert_one_error(run(tiny_filter, tmp_path, model=tmp_path / "nowhere", code=2))
    assert "found none" in run(tiny_filter, tmp_path, kind="none", code=2)
