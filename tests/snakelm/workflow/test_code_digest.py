"""Which code is a step's: what an edit changes in its digests, and what it leaves alone."""

from pathlib import Path

import pytest

from snakelm.workflow import code_digest as module
from snakelm.workflow.code_digest import code_digest, imported_files, remembered
from snakelm.workflow.step import load_steps

STEP = "scripts/analysis/step.py"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small project: the step imports snakelm.a, which imports snakelm.b and the tokenizer's
    core; snakelm.c is not imported. The configuration, which only carries the step, names the
    operators.
    """
    files = {
        STEP: "from snakelm import a\nfrom snakelm.config import Config\n",
        "snakelm/__init__.py": "",
        "snakelm/a.py": (
            '"""What a is."""\nfrom snakelm import _text\n\nfrom .b import value\n\n\n'
            "def f():\n    return value  # why\n"
        ),
        "snakelm/b.py": "from . import log\n\nvalue = 1\n",
        "snakelm/log.py": "tone = 1\n",
        "snakelm/c.py": "from pytorch_ext.library import load\n",
        "snakelm/config/__init__.py": "from pytorch_ext.library import load\n",
        "pytorch_ext/__init__.py": '"""Mentions _C and _text in words alone."""\n',
        "pytorch_ext/library.py": "load = 1\n",
        "csrc/text/bpe.cpp": (
            '#include "common/shared.h"\n#include "text/bpe.h"\nint bpe;  // merges\n'
        ),
        "csrc/text/bpe.h": "int header;\n",
        "csrc/common/shared.h": "int shared;\n",
        "csrc/common/other.h": "int other;\n",
        "csrc/ops/attention.cpp": '#include "common/other.h"\nint attention;\n',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget():
    """What was seen of files, as a new process would not have it."""
    for cached in (module.code_digest, module._facts, module._files_of, module.native_files):
        cached.cache_clear()
    module._REMEMBERED.clear()


def digest(tree):
    forget()
    return code_digest(tree / STEP)


def names(tree, **given):
    return {file.relative_to(tree).as_posix() for file in imported_files(tree / STEP, **given)}


def test_it_covers_what_is_imported_and_nothing_else(tree):
    own = {STEP, "snakelm/__init__.py", "snakelm/a.py", "snakelm/b.py"}
    core = {"csrc/text/bpe.cpp", "csrc/text/bpe.h", "csrc/common/shared.h"}
    assert names(tree, carriers=False) == own | core
    carriers = {"snakelm/log.py", "snakelm/config/__init__.py"}
    assert names(tree) >= own | core | carriers
    assert "snakelm/c.py" not in names(tree)


EDITS = {
    "a comment": ("snakelm/a.py", "# why", "# because", True, False),
    "a docstring": ("snakelm/a.py", "What a is", "What a was", True, False),
    "an imported value": ("snakelm/b.py", "value = 1", "value = 2", True, True),
    "a module that is not imported": ("snakelm/c.py", "load", "other", False, False),
    "a module that only carries": ("snakelm/log.py", "tone = 1", "tone = 2", True, False),
    "the configuration": ("snakelm/config/__init__.py", "import load", "import other", True, False),
    "the core that is loaded": ("csrc/text/bpe.cpp", "int bpe", "int pairs", True, True),
    "a comment in it": ("csrc/text/bpe.cpp", "// merges", "// pairs", True, False),
    "a header that it includes": ("csrc/common/shared.h", "shared", "common", True, True),
    "a kernel that only a carrier leads to": (
        "csrc/ops/attention.cpp", "int attention", "int sdpa", True, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_what_an_edit_changes(tree, edit):
    name, old, new, exact, meaning = EDITS[edit]
    before = digest(tree)
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new))
    after = digest(tree)
    assert (before["exact"] != after["exact"], before["meaning"] != after["meaning"]) == (
        exact,
        meaning,
    )


@pytest.mark.parametrize("read", ["snakelm/templates", "snakelm/templates/page.html"])
def test_what_a_module_reads_beside_it_counts_as_its_code(tree, monkeypatch, read):
    monkeypatch.setattr(module, "READ", {"snakelm.b": read})
    (tree / "snakelm/templates").mkdir()
    page = tree / "snakelm/templates/page.html"
    page.write_text("<p>see https://one</p>")
    before = digest(tree)
    page.write_text("<p>see https://two</p>")
    assert digest(tree)["meaning"] != before["meaning"]


def test_every_file_beside_the_modules_has_its_reader():
    """Another file that a step reads would change its results, and nothing would run again."""
    root = Path(__file__).resolve().parents[3]
    elsewhere = (".py", ".pyi", ".pyc", ".so", "py.typed")
    beside = {
        file.relative_to(root)
        for file in (root / "snakelm").rglob("*")
        if file.is_file() and not file.name.endswith(elsewhere)
    }
    of_no_step = {file for file in beside if file.is_relative_to("snakelm/serve/page")}
    read = {file for file in beside if any(map(file.is_relative_to, module.READ.values()))}
    assert beside == of_no_step | read
    assert all(root.joinpath(*name.split(".")).with_suffix(".py").is_file() for name in module.READ)


def parsed_files(tree, monkeypatch):
    """The files that are parsed for a digest with a memory, and the digest."""
    forget()
    parsed, look = [], module._look_at
    with monkeypatch.context() as patch:
        patch.setattr(module, "_look_at", lambda file: (parsed.append(file.name), look(file))[1])
        with remembered(tree / "code.json"):
            return code_digest(tree / STEP), parsed


def test_remembering_gives_the_same_digests_and_sees_every_edit(tree, monkeypatch):
    fresh = digest(tree)
    first, parsed = parsed_files(tree, monkeypatch)
    assert first == fresh
    assert parsed
    assert parsed_files(tree, monkeypatch) == (fresh, [])

    (tree / "snakelm/b.py").write_text("from . import log\n\nvalue = 2\n")
    after, parsed = parsed_files(tree, monkeypatch)
    assert after["meaning"] != fresh["meaning"]
    assert parsed == ["b.py"]


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"x": 3}', '{"x": [1, 2, 3, 4, 5, 6]}'])
def test_a_damaged_memory_is_made_anew(tree, damage):
    fresh = digest(tree)
    (tree / "code.json").write_text(damage)
    forget()
    with remembered(tree / "code.json"):
        assert code_digest(tree / STEP) == fresh


# What is true of the project itself.

NATIVE_OF = {
    "collect": set(),
    "sample_data": set(),
    "preflight": {"text", "common"},  # the tokenizer of train.base
    "quality": set(),
    "deduplicate": {"dedup", "common"},
    "train_tokenizer": {"text", "common"},
    "prepare_shard": {"text", "common"},
    "baseline": {"text", "common"},
}


@pytest.mark.parametrize("name", NATIVE_OF)
def test_a_step_depends_on_the_native_code_that_it_runs(name):
    forget()
    files = imported_files(load_steps()[name].script, carriers=False)
    native = [file.relative_to(module.ROOT) for file in files if "csrc" in file.parts]
    assert {file.parts[1] for file in native} <= NATIVE_OF[name]


@pytest.mark.parametrize(("step", "reads"), [("plan", True), ("train", False)])
def test_the_recorded_runs_are_part_of_the_plan_and_of_no_training(step, reads):
    record = module.ROOT / "snakelm/evaluation/recorded_runs.json"
    assert (record in imported_files(load_steps()[step].script)) is reads
