"""Every rule is declared whole, and one name stands for rule, script, log and benchmark."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
RULES = {
    name: body
    for file in sorted((ROOT / "rules").glob("*.smk"))
    for name, body in re.findall(
        r"^rule (\w+):\n((?:    .*\n|\n)*)", file.read_text(), flags=re.MULTILINE
    )
}
SCRIPTS = {file.stem: file for file in (ROOT / "scripts").rglob("*.py")}


def test_rules_were_found():
    assert {
        "sample_data",
        "deduplicate",
        "train_tokenizer",
        "prepare_data",
        "train",
        "plot_metrics",
    } <= set(RULES)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "part", ["input", "output", "log", "benchmark", "conda", "threads", "resources", "shell"]
)
def test_a_rule_says(name, part):
    assert re.search(rf"^    {part}:", RULES[name], flags=re.MULTILINE), (
        f"rule {name} has no {part}"
    )


@pytest.mark.parametrize("name", RULES)
def test_a_rule_runs_the_script_of_its_name_and_logs_under_it(name):
    body = RULES[name]
    script = SCRIPTS[name].relative_to(ROOT).as_posix()
    assert f'python "$SNAKELM"/{script} ' in body
    assert re.search(rf'log:\n\s+log\("{name}[".]', body)
    assert re.search(rf'benchmark:\n\s+timing\("{name}[".]', body)


@pytest.mark.parametrize("name", RULES)
def test_every_value_in_a_shell_line_is_quoted(name):
    shell = RULES[name].split("    shell:\n", 1)[1]
    numbers = {"{threads}", "{wildcards.shard}", "{wildcards.shards}"}
    unquoted = [
        v for v in re.findall(r"\{[^}]*\}", shell) if not v.endswith(":q}") and v not in numbers
    ]
    assert not unquoted, f"rule {name}: {unquoted} can be read by the shell as more than a word"


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=lambda f: f.relative_to(ROOT).as_posix())
def test_scripts_translate_and_do_nothing_at_import(script):
    text = script.read_text(encoding="utf-8")
    assert "def main(" in text
    assert "__main__" in text
    assert text.removeprefix("#!/usr/bin/env python3\n").startswith('"""'), (
        "opens with its decision"
    )


def test_the_cluster_is_asked_for_no_more_cores_than_its_nodes_have():
    """Rules take eight threads where they can; a node with fewer refuses the job, whichever rule it
    is of.
    """
    profile = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text(encoding="utf-8"))
    assert "max-threads" in profile
    assert "set-threads" not in profile, "names single rules, and the next one is forgotten"
