"""As a module of another workflow, with other names for its rules and a prefix for its files, and
from a folder that isn't the checkout.
"""

import json
from dataclasses import replace

import pytest

OUTER = """\
configfile: "config/config.yaml"

rule first:
    output: "first.txt"
    shell: "touch {{output}}"

module lm:
    snakefile: "{snakefile}"
    config: config["lm"]
    {prefix}

use rule * from lm as lm_*

rule notes:
    input: "raw.jsonl"
    output: "made/notes.jsonl"
    shell: "cp {{input}} {{output}}"

onstart:
    lm.onstart()
"""
CONFIG = """\
theirs: 1
lm:
  preset: smoke
  sources: [{path: made/notes.jsonl, name: own}, {builtin: synthetic, limit: 200}]
  sft_data: {sources: [{path: my/talks.jsonl}]}
"""


@pytest.fixture(scope="module")
def outer(checkout, sentences):
    """Another workflow's folder, beside the checkout."""
    home = replace(checkout, root=checkout.root / "outer")
    home.write("config/config.yaml", CONFIG)
    home.write("raw.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in sentences))
    talks = [{"question": f"{i} and 1?", "answer": f"{i + 1}."} for i in range(60)]
    home.write("my/talks.jsonl", "".join(json.dumps(talk) + "\n" for talk in talks))
    return home


def as_module(outer, prefix=""):
    snakefile = "../Snakefile"
    text = OUTER.format(snakefile=f"../{snakefile}", prefix=prefix and f'prefix: "{prefix}"')
    outer.write("workflow/Snakefile", text)


def test_a_module_with_a_prefix_runs_and_is_then_done(outer):
    as_module(outer, "lm")
    packs = "lm/results/data/processed/train_sft_packed.bin"
    done = outer.snakemake(packs)
    assert done.code == 0, done.said
    assert (outer.root / packs).is_file()
    assert not (outer.root / "results").exists()
    again = outer.snakemake("-n", packs)
    assert "Nothing to be done" in again.said

    # What a rule of the other workflow makes is awaited, and counts by content like anything else.
    (outer.root / "made/notes.jsonl").touch()
    assert "Nothing to be done" in outer.snakemake("-n", packs).said
    with open(outer.root / "raw.jsonl", "a") as file:
        file.write('{"text": "One more document about an otter."}\n')
    jobs = outer.snakemake("-n", packs).jobs()
    assert {"notes", "lm_sample_data", "lm_prepare_sft_data"} <= jobs
    assert "lm_collect" not in jobs

    report = outer.snakemake("--report", "lm.html")
    assert report.code == 0, report.said
    assert "none of the report's" in report.said


def test_a_module_leaves_the_first_rule_of_the_other_workflow_first(outer):
    as_module(outer)
    done = outer.snakemake("-n")
    assert done.code == 0, done.said
    assert done.jobs() == {"first"}


def test_everything_is_planned_under_the_other_names(outer):
    as_module(outer)
    done = outer.snakemake("-n", "lm_all")
    assert done.code == 0, done.said
    assert {"lm_train", "lm_summarise", "lm_export"} <= done.jobs()


def test_alone_in_a_snakefile_it_makes_everything(outer):
    outer.write(
        "workflow/Snakefile",
        'configfile: "config/config.yaml"\n'
        'module lm:\n    snakefile: "../../Snakefile"\n    config: config["lm"]\n'
        "use rule * from lm\n",
    )
    outer.write("made/notes.jsonl", '{"text": "One document."}\n')
    done = outer.snakemake("-n")
    assert done.code == 0, done.said
    assert {"train", "summarise"} <= done.jobs()


def test_the_rules_without_their_library_say_what_is_missing(outer):
    root = outer.root / "fetched"  # as github(…) brings them
    for file in [outer.root.parent / "Snakefile", *(outer.root.parent / "rules").iterdir()]:
        copy = root / file.relative_to(outer.root.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (root / "config").mkdir()
    (root / "config/config.yaml").write_text("")
    done = outer.snakemake("-n", "-s", str(root / "Snakefile"))
    assert done.code == 2, done.said
    assert "error: snakelm: the library isn't beside the Snakefile" in done.said
    assert "Traceback" not in done.said


@pytest.mark.parametrize(
    "words",
    [
        ["--configfile", "my.yaml"],
        ["--config", "preset=smoke", "sources=[{path: raw.jsonl, name: own}]"],
        [],
    ],
    ids=["a configuration file", "--config alone", "the default run"],
)
def test_from_another_folder(outer, words, checkout):
    elsewhere = replace(outer, root=outer.root / "elsewhere")
    elsewhere.write("my.yaml", "sources: [{path: raw.jsonl, name: own}]")
    elsewhere.write("raw.jsonl", '{"text": "One document."}\n')
    done = elsewhere.snakemake("-n", "-s", "../../Snakefile", "results/final_model.pt", *words)
    assert done.code == 0, done.said
    assert "train" in done.jobs()
    assert ("collect" in done.jobs()) == (words == [])
