"""Files of the user's with names that Snakemake, a shell or a flag would read otherwise; results
folders in places that people choose.
"""

import base64
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

ODD = [
    "notes{1}.jsonl",
    "-notes.jsonl",
    "{source}.jsonl",
    "<results>.jsonl",
    "a [x], 'b' \"c\".jsonl",
]
EVERY_KEY = """\
preset: smoke
sources: [{path: "in/*.jsonl", name: own}, {path: "in/-notes.jsonl", name: one}]
filter: setfit
classifier: {labels: "in/{labels}.jsonl"}
decontaminate: {files: ["sets/*.jsonl"]}
tokenizer: {kind: tiktoken, file: "in/{ranks}"}
sft_data: {sources: [{path: "talks/*.jsonl"}]}
sft: {base: "in/{base}.pt"}
tasks: [{path: "tasks/*.jsonl", name: own}]
"""


@pytest.fixture(scope="module")
def named(checkout):
    """Files of such names under every key that takes paths."""
    rows = {"in": {"text": "A text."}, "sets": {"text": "A text."}}
    rows["talks"] = {"question": "One?", "answer": "Two."}
    rows["tasks"] = {"question": "One?", "choices": ["a", "b"], "answer": 0}
    for folder, row in rows.items():
        for i, name in enumerate(ODD):
            numbered = {key: f"{i} {value}" if key != "choices" and key != "answer" else value
                        for key, value in row.items()}  # fmt: skip
            checkout.write(f"{folder}/{name}", json.dumps(numbered) + "\n")

    labels = [{"text": f"text {i}", "label": ("academic", "other")[i % 2]} for i in range(8)]
    checkout.write("in/{labels}.jsonl", "".join(json.dumps(label) + "\n" for label in labels))
    bytes_of = (base64.b64encode(bytes([i])).decode() for i in range(256))
    checkout.write("in/{ranks}", "".join(f"{b} {i}\n" for i, b in enumerate(bytes_of)))
    checkout.write("in/{base}.pt", "")
    checkout.write("every.yaml", EVERY_KEY)
    return checkout


def test_every_rule_takes_such_names(named):
    done = named.snakemake("-n", "--configfile", "every.yaml")
    assert done.code == 0, done.said
    assert {"sample_data", "setfit_train", "decontaminate", "evaluate"} <= done.jobs()
    assert {"train_tokenizer", "prepare_sft_data", "train_sft"} <= done.jobs()


def test_such_files_are_read(named):
    packs = "results/data/processed/train_sft_packed.bin"
    sampled = ["results/data/sampled/own.parquet", "results/data/sampled/one.parquet"]
    done = named.snakemake(packs, *sampled, "--configfile", "every.yaml", "--config", "filter=none")
    assert done.code == 0, done.said
    assert "Nothing to be done" in named.snakemake(
        "-n", packs, *sampled, "--configfile", "every.yaml", "--config", "filter=none"
    ).said  # fmt: skip

    own = pq.read_table(named.root / sampled[0])
    assert set(own["origin_file"].to_pylist()) == {
        f"in/{name}" for name in [*ODD, "{labels}.jsonl"]
    }
    assert pq.read_table(named.root / sampled[1])["origin_file"].to_pylist() == ["in/-notes.jsonl"]
    inputs = json.loads((named.root / f"{packs}.manifest.json").read_text())["inputs"]
    assert {f"talks/{name}" for name in ODD} <= {one["path"] for one in inputs}


def test_a_glob_over_the_results_sees_new_files_and_says_once_what_it_leaves_out(named):
    named.write("deep.yaml", 'preset: smoke\nresults: deep/out\nsources: [{path: "**/*.jsonl"}]\n')
    named.write("deep/out/tables/x.jsonl", "{}")
    target = "deep/out/data/sampled/source.parquet"
    done = named.snakemake("-n", target, "--configfile", "deep.yaml")
    assert done.code == 0, done.said
    named.write("other/config/code.json", "{}")  # another run's folder
    named.write("other/tables/y.jsonl", "{}")
    done = named.snakemake("-n", target, "--configfile", "deep.yaml")
    assert done.said.count("2 files of deep/out and other left out") == 1


def test_the_folder_one_is_in_may_be_the_results_folder(named):
    home = replace(named, root=named.root / "own folder")
    home.write("a.jsonl", '{"text": "A text."}\n{"text": "Another."}\n')
    home.write("my.yaml", 'preset: smoke\nresults: .\nsources: [{path: "**/*.jsonl", name: own}]\n')
    words = ["data/sampled/own.parquet", "-s", "../Snakefile", "--configfile", "my.yaml"]
    done = home.snakemake(*words)
    assert done.code == 0, done.said
    assert pq.read_table(home.root / words[0])["origin_file"].to_pylist() == ["a.jsonl"] * 2
    assert "Nothing to be done" in home.snakemake("-n", *words).said


def test_a_results_folder_in_the_home_folder(named, monkeypatch):
    monkeypatch.setenv("HOME", str(named.root / "home"))
    target = f"{named.root}/home/runs/a/final_model.pt"
    done = named.snakemake("-n", target, "--config", "results=~/runs/a")
    assert done.code == 0, done.said
    assert not (named.root / "~").exists()


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("results/final_model.pt", "did you mean runs/mine/final_model.pt?"),
        ("runs/mine/final_modle.pt", "did you mean runs/mine/final_model.pt?"),
        ("runs/mine/data/sampled/docz.parquet", "did you mean runs/mine/"),
    ],
)
def test_a_target_that_nothing_makes_is_answered_with_one_that_is_made(named, asked, answer):
    done = named.snakemake("-n", asked, "--config", "results=runs/mine")
    assert done.code == 2, done.said
    assert f"error: {asked}: nothing makes it, with results: runs/mine; {answer}" in done.said
