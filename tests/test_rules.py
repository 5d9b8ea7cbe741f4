"""Every rule is declared completely, and one name stands for rule, script, log and benchmark."""

import re
from pathlib import Path

import pytest
import yaml

from snakelm.workflow.step import Folder, load_steps

ROOT = Path(__file__).resolve().parents[1]
RULES = {
    name: body
    for file in sorted((ROOT / "rules").glob("*.smk"))
    for name, body in re.findall(
        r"^rule (\w+):\n((?:    .*\n|\n)*)", file.read_text(), flags=re.MULTILINE
    )
}
STEPS = load_steps()
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
def test_a_rule_stands_for_the_step_of_its_name(name):
    body = RULES[name]
    assert name in STEPS
    assert re.search(rf"    shell:\n        command\(\"{name}\"\)\n", body)
    assert f'config=settings("{name}")' in body
    assert re.search(rf'log:\n\s+log\("{name}[".]', body)
    assert re.search(rf'benchmark:\n\s+timing\("{name}[".]', body)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_gives_its_step_what_it_declares(name):
    """Every value of the shell line has its name in the rule; Snakemake would only say so at run
    time.
    """
    referred = re.findall(r"\{(input|output|params)\.(\w+):q\}", STEPS[name].shell_command())
    for part, key in referred:
        block = re.search(rf"^    {part}:\n((?:        .*\n|\n)+)", RULES[name], flags=re.MULTILINE)
        assert block, f"rule {name} has no {part}"
        by_stem = "**by_stem(" in block.group(1)
        assert by_stem or re.search(rf"^        {key}=", block.group(1), flags=re.MULTILINE), (
            f"rule {name}: {part}.{key}"
        )


NAMED_OUTPUT = r"^    output:\n((?:        \w+=.*\n|         .*\n|        [)\]].*\n)+)"
DRAWING = {
    name: match[1]
    for name, body in RULES.items()
    if (match := re.search(NAMED_OUTPUT, body, flags=re.MULTILINE))
    and any(isinstance(kind, Folder) and kind.files for kind in STEPS[name].writes.values())
}


def test_rules_that_draw_into_folders_were_found():
    assert {"plot_metrics", "plot_sft", "plot_loss", "summarise"} <= set(DRAWING)


@pytest.mark.parametrize("name", DRAWING)
def test_a_rule_makes_the_files_that_its_step_writes_into_folders(name):
    writes = STEPS[name].writes.items()
    folders = [kind for _, kind in writes if isinstance(kind, Folder)]
    single = {flag for flag, kind in writes if not isinstance(kind, Folder)}
    outputs = re.findall(r"^        (\w+)=", DRAWING[name], flags=re.MULTILINE)
    assert set(outputs) - single == {Path(file).stem for kind in folders for file in kind.files}


@pytest.mark.parametrize("step", STEPS.values(), ids=lambda step: step.name)
def test_every_value_in_a_shell_line_is_quoted(step):
    values = re.findall(r"\{[^}]*\}", step.shell_command())
    assert values
    assert [v for v in values if not v.endswith(":q}")] in ([], ["{threads}"])


@pytest.mark.parametrize("step", STEPS.values(), ids=lambda step: step.name)
def test_a_step_has_a_rule_and_a_help_text_for_every_flag(step):
    assert step.name in RULES
    for action in step.parser()._actions:
        assert action.help, f"{step.relative_path}: {action.option_strings} has no help"


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


def test_no_rule_is_ancient_to_another():
    """Snakemake 9.27 passes over what follows such a rule: where the rule has to run, steps whose
    output is missing are left out, with exit code 0. Files that no rule makes may be ancient.
    """
    made = r"ancient\(\s*(results|files_of|documents|expand|shards_of)\("
    for file in (ROOT / "rules").glob("*.smk"):
        assert not re.search(made, file.read_text(encoding="utf-8")), file.name
