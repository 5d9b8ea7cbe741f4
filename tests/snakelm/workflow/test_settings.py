"""What tells a user that a model was made by other code."""

from pathlib import Path

import pytest

from snakelm.config import from_mapping, load_settings
from snakelm.errors import UserError
from snakelm.files import write_json
from snakelm.workflow.last_settings import note_settings
from snakelm.workflow.manifest import manifest_path, read_manifest, seal, write_manifest
from snakelm.workflow.settings import (
    changed_since,
    public_copy,
    settings_file,
    shown_file,
)
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


def test_settings_that_come_after_others_are_another_file_until_others_come_again(tmp_path):
    """Else a checkout whose files another one has replaced would find nothing to be done."""
    step, log = load_steps()["train_tokenizer"], tmp_path / "logs/steps/train_tokenizer.log"
    ours, theirs = (from_mapping({"tokenizer": {"vocab_size": size}}) for size in (300, 320))

    def run(config):
        path = Path(settings_file(tmp_path, config, step))
        assert path.as_posix() == settings_file(tmp_path, config, step)
        note_settings(path, log)
        assert path.as_posix() == settings_file(tmp_path, config, step)
        assert load_settings([path]).tokenizer.vocab_size == config.tokenizer.vocab_size
        return path

    first, other = run(ours), run(theirs)
    again = run(ours)
    assert len({first, other, again}) == 3
    assert run(ours) == again
    assert run(theirs) != other


def test_a_run_by_hand_is_not_what_a_step_was_last_run_with(tmp_path):
    step = load_steps()["train_tokenizer"]
    path = Path(settings_file(tmp_path, from_mapping({}), step))
    for log in (None, tmp_path / "mine.log"):
        note_settings(path, log)
    note_settings(tmp_path / "config/my.yaml", tmp_path / "logs/steps/x.log")
    assert not (tmp_path / "config/made").exists()


def test_damaged_settings_are_refused_by_the_step_and_written_again_by_the_workflow(tmp_path):
    step, config = load_steps()["train"], from_mapping({"train": {"steps": 7, "log_every": 3}})
    files = [settings_file(tmp_path, config, step), shown_file(tmp_path, config, step)]
    whole = [Path(file).read_bytes() for file in files]
    assert load_settings(files).train.steps == 7
    for file, content in zip(files, whole, strict=True):
        for damaged in (content[:-9], content[: len(content) // 2], b"", bytes(40) + content[40:]):
            Path(file).write_bytes(damaged)
            with pytest.raises(UserError, match="changed since the workflow wrote it"):
                load_settings(files)
        settings_file(tmp_path, config, step)
        shown_file(tmp_path, config, step)
        assert Path(file).read_bytes() == content
