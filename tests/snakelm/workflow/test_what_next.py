"""What is said at the end of a run: only what there is, with this run's own options."""

import shlex
from pathlib import Path

import pytest

from snakelm.workflow import hints
from snakelm.workflow.what_next import what_next

FILES = {
    "trained": ["final_model.pt"],
    "tuned": ["final_model.pt", "sft_model.pt"],
    "all": [
        "final_model.pt",
        "sft_model.pt",
        "models/final/config.json",
        "models/final/model.gguf",
        "tables/summary.html",
    ],
}
SAID = {
    "trained": ["the rest", "report", "try it"],
    "tuned": ["the rest", "report", "chat"],
    "all": ["report", "chat", "model", "Ollama", "publish"],
}


@pytest.mark.parametrize("kind", FILES)
def test_what_there_is_is_named_with_commands_for_this_run(tmp_path, monkeypatch, kind):
    monkeypatch.setenv(hints.RUN, shlex.join(["--configfile", "my own.yaml"]))
    for name in FILES[kind]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    said = what_next(tmp_path)
    head, *lines = said.strip().splitlines()
    assert head == "What next?"
    assert [line[2:12].split("  ")[0].strip() for line in lines] == SAID[kind]
    assert "snakemake --report --configfile 'my own.yaml'" in said
    assert f"--results {tmp_path}" in said
    assert ("--base" in said) == (kind == "trained")


def test_a_run_without_a_model_says_nothing(tmp_path):
    assert what_next(tmp_path) == ""


def test_the_page_that_is_named_exists():
    from snakelm.workflow.what_next import GUIDE

    assert (Path(__file__).resolve().parents[3] / GUIDE).is_file()
