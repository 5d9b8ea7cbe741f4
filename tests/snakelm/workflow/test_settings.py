"""What tells a user that a model was made by other code."""

from pathlib import Path

from snakelm.files import write_json
from snakelm.workflow.manifest import manifest_path, read_manifest, seal, write_manifest
from snakelm.workflow.settings import changed_since, public_copy
from snakelm.workflow.step import load_steps


def test_a_change_of_training_code_is_said_with_the_command_that_makes_it_anew(tmp_path):
    step, artefact = load_steps()["train"], tmp_path / "model.pt"
    artefact.write_bytes(b"weights")
    write_manifest(artefact, inputs=[], config={}, script=step.script, seed=3)
    assert changed_since(artefact, step) == []

    record = read_manifest(artefact)
    record["code"]["exact"] = "0" * 64
    write_json(manifest_path(artefact), record | {"seal": seal(record)})
    assert "only comments or docstrings differ" in changed_since(artefact, step)[0]

    record["code"]["meaning"] = "0" * 64
    write_json(manifest_path(artefact), record | {"seal": seal(record)})
    again = f"snakemake --cores 8 {artefact} --forcerun {artefact}"
    assert again in changed_since(artefact, step)[0]


def test_a_manifest_that_cannot_be_read_is_said(tmp_path):
    artefact = tmp_path / "model.pt"
    assert changed_since(artefact, load_steps()["train"]) == []
    manifest_path(artefact).write_text("{}")
    assert "cannot be read" in changed_since(artefact, load_steps()["train"])[0]


def test_the_report_gets_a_copy_of_a_configuration_that_tells_too_much(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    monkeypatch.chdir(tmp_path)
    Path("plain.yaml").write_text("preset: smoke\n")
    assert public_copy("results", "plain.yaml") == "plain.yaml"
    Path("mine.yaml").write_text(
        f"sources: [{{url: 'https://u:word@h/a?sig=1'}}, {{path: {tmp_path}/alice/x.jsonl}}]\n"
    )
    copy = public_copy("results", tmp_path / "mine.yaml")
    assert copy == "results/config/shown-mine.yaml"
    assert Path(copy).read_text() == "sources: [{url: 'https://h/a'}, {path: ~/x.jsonl}]\n"
