"""The checks between duplicates and tokens in the workflow: there when they are configured, and
only then.
"""

import json

import pytest

pytest.importorskip("py3langid", reason="requirements-checks.txt is not installed")

OWN = """\
preset: smoke
sources: [{path: "my/*.parquet", text: body}]
quality: {min_words: 31}
languages: {keep: [en], unknown: keep}
personal_data: {action: mask}
decontaminate: {files: ["sets/*.jsonl"]}
"""
CLEAN = "results/data/decontaminated/documents.parquet"
MODEL = "results/final_model.pt"


@pytest.fixture
def checkout(checkout, own_parquet, sentences):
    """The module's checkout with the configuration and its files in it."""
    long_enough = next(sentence for sentence in sentences if len(sentence.split()) >= 31)
    if not (checkout.root / "my.yaml").exists():  # a later time would be a reason to run again
        checkout.write("sets/one.jsonl", json.dumps({"question": long_enough}) + "\n")
        checkout.write("my.yaml", OWN)
    return checkout


def test_quality_and_decontamination_are_done_where_they_are_on(checkout):
    done = checkout.snakemake(CLEAN, "--configfile", "my.yaml")
    assert done.code == 0, done.said
    results = checkout.root / "results"
    for name in ("quality", "decontaminated"):
        assert json.loads((results / f"data/{name}/examples.json").read_text())
    counts = json.loads((checkout.root / (CLEAN + ".manifest.json")).read_text())
    assert counts["counts"]["evaluation"]["sets/one.jsonl"]["documents_dropped"] == 1
    listed = checkout.snakemake("-n", MODEL, "--configfile", "my.yaml").jobs()
    assert "train_tokenizer" in listed
    assert not {"personal_data", "languages", "quality", "decontaminate"} & listed, "they are done"


def test_a_changed_rule_checks_again_from_there(checkout):
    checkout.write("more.yaml", "decontaminate: {share: 0.5}")
    listed = checkout.snakemake("-n", MODEL, "--configfile", "my.yaml", "more.yaml").jobs()
    assert "decontaminate" in listed
    assert not {"deduplicate", "personal_data", "languages", "quality"} & listed


def test_without_them_there_is_no_such_job(checkout):
    listed = checkout.snakemake("-n", MODEL, "--config", "preset=smoke").jobs()
    assert "deduplicate" in listed
    off = {"personal_data", "languages", "quality", "filter_dataset", "decontaminate"}
    assert not {*off, "setfit_train"} & listed


def test_evaluation_files_that_are_not_there_stop_it_before_any_job(checkout):
    checkout.write("none.yaml", "decontaminate: {files: [nowhere/*.parquet]}")
    done = checkout.snakemake("-n", MODEL, "--configfile", "none.yaml")
    assert done.code != 0
    assert "nowhere/*.parquet: no such file" in done.said
    assert "fix decontaminate.files" in done.said
    assert "Traceback" not in done.said
