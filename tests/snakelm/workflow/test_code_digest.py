"""snakelm.code_digest and snakelm.settings: what reruns a step, and what only warns."""

import shutil
from pathlib import Path

import pytest

from snakelm.config import from_mapping, load_config
from snakelm.files import write_json
from snakelm.workflow import code_digest as module
from snakelm.workflow.code_digest import code_digest, imported_files
from snakelm.workflow.manifest import (
    content_hash,
    manifest_path,
    read_manifest,
    seal,
    write_manifest,
)
from snakelm.workflow.settings import changed_since, settings_file, shown_file


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small project: scripts/step.py imports snakelm.a, which imports snakelm.b; snakelm.c is not
    imported.
    """
    files = {
        "scripts/step.py": "from snakelm import a\n",
        "snakelm/__init__.py": "",
        "snakelm/a.py": '"""What a is."""\nfrom .b import value\n\n\ndef f():\n    return value  # why\n',
        "snakelm/b.py": "from . import log\n\nvalue = 1\n",
        "snakelm/log.py": "tone = 1\n",
        "snakelm/c.py": "other = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


def edit(file, old, new):
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_it_covers_what_is_imported_and_nothing_else(tree):
    names = {f.relative_to(tree).as_posix() for f in imported_files(tree / "scripts/step.py")}
    assert names == {
        "scripts/step.py",
        "snakelm/__init__.py",
        "snakelm/a.py",
        "snakelm/b.py",
        "snakelm/log.py",
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "exact", "meaning"),
    [
        ("snakelm/a.py", "# why", "# because", True, False),
        ("snakelm/a.py", "What a is", "What a was", True, False),
        ("snakelm/b.py", "value = 1", "value = 2", True, True),
        ("snakelm/c.py", "other = 1", "other = 2", False, False),
        ("snakelm/log.py", "tone = 1", "tone = 2", True, False),
    ],
    ids=[
        "comment",
        "docstring",
        "imported value",
        "module not imported",
        "module that only carries",
    ],
)
def test_what_an_edit_changes(tree, file, old, new, exact, meaning):
    before = code_digest(tree / "scripts/step.py")
    edit(tree / file, old, new)
    for cached in (module._mentions, module._imports, module._digests):
        cached.cache_clear()
    after = code_digest(tree / "scripts/step.py")
    assert (before["exact"] != after["exact"], before["meaning"] != after["meaning"]) == (
        exact,
        meaning,
    )


def test_settings_are_named_by_content_and_keep_their_time(tmp_path):
    one = from_mapping({"preset": "smoke"})
    other = from_mapping({"preset": "smoke", "train": {"lr": 0.02}})
    cosmetic = from_mapping({"preset": "smoke", "train": {"log_every": 3}})
    first = settings_file(tmp_path, one, "training/train", ["train"])
    assert settings_file(tmp_path, other, "training/train", ["train"]) != first
    assert settings_file(tmp_path, cosmetic, "training/train", ["train"]) == first
    assert settings_file(tmp_path, other, "training/train", ["model"]) == settings_file(
        tmp_path, one, "training/train", ["model"]
    )
    assert (
        "log_every: 3"
        in Path(shown_file(tmp_path, cosmetic, "training/train", ["train"])).read_text()
    )


def test_a_licence_is_shown_and_starts_nothing_again(tmp_path):
    plain = {"sources": [{"path": "a.txt"}], "sft_data": {"sources": [{"path": "b.jsonl"}]}}
    told = {
        "sources": [{"path": "a.txt", "licence": "A"}],
        "sft_data": {"sources": [{"path": "b.jsonl", "licence": "B"}]},
    }
    step, sections = "analysis/export", ["sources", "sft_data"]
    counted = [
        settings_file(tmp_path, from_mapping(values), step, sections) for values in (plain, told)
    ]
    assert counted[0] == counted[1]
    config = load_config([counted[0], shown_file(tmp_path, from_mapping(told), step, sections)])
    assert config.sources == from_mapping(told).sources
    assert config.sft_data == from_mapping(told).sft_data


def test_a_manifest_records_and_a_change_of_code_is_said(tmp_path):
    script = module.ROOT / "scripts/training/train.py"
    artefact = tmp_path / "model.pt"
    artefact.write_bytes(b"weights")
    made_from = tmp_path / "in.txt"
    made_from.write_text("text")
    write_manifest(
        artefact, inputs=[made_from], config={"a": 1}, script=script, seed=3, extra={"steps": 5}
    )
    record = read_manifest(artefact)
    assert record["inputs"][0]["bytes"] == 4
    assert record["steps"] == 5
    assert changed_since(artefact, "scripts/training/train.py") == []
    record["code"]["exact"] = "0" * 64
    write_json(manifest_path(artefact), record | {"seal": seal(record)})
    assert (
        "only comments or docstrings differ"
        in changed_since(artefact, "scripts/training/train.py")[0]
    )
    record["code"]["meaning"] = "0" * 64
    write_json(manifest_path(artefact), record | {"seal": seal(record)})
    assert "--forcerun train" in changed_since(artefact, "scripts/training/train.py")[0]


def test_content_hash_trusts_a_manifest_only_while_the_file_is_as_it_was(tmp_path):
    artefact = tmp_path / "x.bin"
    artefact.write_bytes(b"one")
    write_manifest(artefact, inputs=[], config={}, script=module.ROOT / "setup.py", seed=0)
    before = content_hash(artefact)
    artefact.write_bytes(b"two")
    assert content_hash(artefact) != before
    shutil.rmtree(tmp_path)
