"""Manifests typed: what is there is read, what is missing or malformed is the field's default."""

import pytest

from snakelm.analysis.manifests import (
    PacksManifest,
    SampleManifest,
    SplitManifest,
    StepManifest,
    TrainManifest,
    as_kind,
    made_by,
    read_manifests,
)
from snakelm.errors import UserError
from snakelm.workflow.manifest import manifest_path


def test_a_manifest_has_what_all_have_and_what_its_step_counted(manifest):
    artefact = manifest(
        "sampled/web.parquet",
        "sample_data",
        counts={"read": 9, "taken": 4, "null": 1, "empty": 1, "invalid": {"not UTF-8": 2}},
        inputs=[{"path": "a.parquet", "sha256": "cd" * 32, "bytes": 7}],
        seed=1337,
    )
    (plain,) = read_manifests([artefact, artefact.with_name("none")]).values()
    assert (plain.step, plain.seed, plain.artefact.stem) == ("sample_data", 1337, "web")
    assert [file.bytes for file in plain.inputs] == [7]

    sampled = as_kind(plain, SampleManifest)
    assert (sampled.counts.read, sampled.counts.taken, sampled.counts.unfit) == (9, 4, 4)
    assert sampled.artefact == plain.artefact
    assert made_by([plain], "train", TrainManifest) == []


@pytest.mark.parametrize("damage", [None, 3, "text", [], [1], {"train": 1}, {"train": {}}], ids=str)
def test_a_malformed_value_is_the_default_and_its_neighbours_stay(damage):
    record = {"script": "x.py", "val": {"documents": 5}, "versions": damage, "inputs": damage}
    manifest = SplitManifest.model_validate({**record, "train": damage, "artefact": damage})
    assert manifest.val is not None
    assert manifest.val.documents == 5
    assert not manifest.train or manifest.train.documents == 0
    assert manifest.artefact.path == ""


def test_what_is_not_finite_is_no_number():
    result = {"val_bpb": float("nan"), "val_loss": float("inf"), "parameters": "many"}
    train = TrainManifest.model_validate({"result": {**result, "processes": 2}}).result
    assert (train.val_bpb, train.val_loss, train.parameters, train.processes) == (
        None,
        None,
        None,
        2,
    )


def test_conversations_without_files_are_counted_as_made():
    sources = [{"name": "docs", "found": 7}, {"name": "mine", "reading": {"read": 5, "null": 2}}]
    packs = PacksManifest.model_validate({"sources": sources})
    assert [(s.name, s.read, s.unfit) for s in packs.sources] == [("docs", 7, 0), ("mine", 5, 2)]


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": NaN}', "[" * 100_000], ids=range(5))
def test_a_damaged_manifest_is_named(text, tmp_path):
    manifest_path(tmp_path / "a.bin").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.bin\.manifest\.json: .*run its step again"):
        read_manifests([tmp_path / "a.bin"])


def test_paths_of_another_system_have_a_stem():
    made = StepManifest.model_validate({"artefact": {"path": r"C:\data\sampled\docs.parquet"}})
    assert made.artefact.stem == "docs"
