"""Paths of the configuration: `~` is the home folder, variables and control characters are refused,
whatever key they are under.
"""

import pytest

from snakelm.config import from_mapping
from snakelm.errors import UserError

KEYS = {
    "results": lambda path: {"results": path},
    "sources[0].path": lambda path: {"sources": [{"path": [path]}]},
    "decontaminate.files": lambda path: {"decontaminate": {"files": ["a", path]}},
    "classifier.labels": lambda path: {"classifier": {"labels": path}},
    "classifier.base": lambda path: {"classifier": {"base": path}},
    "tokenizer.file": lambda path: {"tokenizer": {"kind": "tiktoken", "file": path}},
    "sft_data.sources[0].path": lambda path: {"sft_data": {"sources": [{"path": path}]}},
    "train.base": lambda path: {"train": {"base": path}},
    "sft.base": lambda path: {"sft": {"base": path}},
    "tasks[0].path": lambda path: {"tasks": [{"path": path}]},
    "compare": lambda path: {"compare": [path]},
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("path", ["$HOME/a", "${SCRATCH}/a", "/scratch/$USER/a"])
def test_variables_are_refused(key, path):
    with pytest.raises(UserError) as error:
        from_mapping(KEYS[key](path))
    assert str(error.value).startswith(f"{key}: found '{path}', and variables are not replaced")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("path", ["a\x1b[2J", "a\rb", "a\nb", "a\tb", "a\x7f", "a\x9b"])
def test_control_characters_are_refused_and_not_printed(key, path):
    with pytest.raises(UserError, match="no control character") as error:
        from_mapping(KEYS[key](path))
    assert str(error.value).startswith(f"{key}: ")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "path", ["{a}", "a/{b}", "<results>", "a/<b>", "-a", "~nobody-of-this-name/a", " a"]
)
def test_a_results_folder_that_snakemake_would_read_otherwise_is_refused(path):
    with pytest.raises(UserError, match=r"results: found .*allowed is a folder"):
        from_mapping({"results": path})


@pytest.mark.parametrize("path", ["my results", "it's", "$(touch x)", "a;b", "a$b", "../a", "."])
def test_other_names_of_results_folders_are_only_names(path):
    assert from_mapping({"results": path}).results == path


def test_the_home_folder_has_its_short_name(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    config = from_mapping({"results": "~/runs/a", "compare": ["~/runs/b", "c"]})
    assert config.results == "/home/someone/runs/a"
    assert config.compare == ["/home/someone/runs/b", "c"]
