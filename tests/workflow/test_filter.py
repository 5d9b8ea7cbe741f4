"""The filter in the workflow: absent when off, in its place when on, and the two runs of
config/runs.
"""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq

from snakelm.workflow.manifest import read_manifest

FILTER = {"setfit_train", "filter_dataset", "plot_filter"}


def test_without_a_filter_no_step_of_it_is_there(checkout):
    dry = checkout.snakemake("-n")
    assert dry.code == 0, dry.said
    assert not dry.jobs() & FILTER
    assert "models/academic_filter" not in dry.said


def test_filtered_yaml_needs_nothing_but_the_packages(checkout):
    dry = checkout.snakemake("-n", "--configfile", "config/runs/filtered.yaml")
    assert dry.code == 0, dry.said
    assert dry.jobs() >= FILTER


def test_academic_yaml_filters_a_persons_parquet_files(checkout, sentences_of, tiny_base):
    """With the paths, the columns and the languages' names as they are there; a tiny base instead
    of the real one.
    """
    for name, kind, more in (("stanford", "academic", "other"), ("it", "other", "academic")):
        folder = checkout.root / "data/datasets" / name
        folder.mkdir(parents=True)
        texts = [f"{text} in {name}" for text in sentences_of(kind, 500) + sentences_of(more, 100)]
        pq.write_table(pa.table({"text": texts}), folder / "part-0.parquet")
    missing = checkout.snakemake("-n", "--configfile", "config/runs/academic.yaml")
    assert missing.code == 0, missing.said
    assert missing.jobs() >= FILTER
    shutil.copytree(tiny_base, checkout.root / "base")
    rows = [
        {"text": t, "label": kind} for kind in ("academic", "other") for t in sentences_of(kind, 16)
    ]
    checkout.write("labels.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    tiny = "{base: base, labels: labels.jsonl, steps: 12, batch: 8, lr: 0.003, max_tokens: 48}"
    checkout.write("tiny.yaml", f"classifier: {tiny}\ndeduplicate: {{minhash: false}}\n")
    output = "results/academic/data/filtered/documents.parquet"
    done = checkout.snakemake(output, "--configfile", "config/runs/academic.yaml", "tiny.yaml")
    assert done.code == 0, done.said
    counts = read_manifest(checkout.root / output)["counts"]["sources"]
    assert set(counts) == {"stanford", "it"}
    assert 60 < counts["stanford"]["documents"] < 180  # a fifth of 600, by hash
    share = {name: c["kept"] / c["documents"] for name, c in counts.items()}
    assert share["stanford"] > 0.7
    assert share["it"] < 0.35


def test_labels_that_cant_be_used_stop_the_run_at_its_first_step(checkout):
    checkout.write("one.jsonl", '{"text": "a", "label": "other"}\n')
    checkout.write(
        "bad.yaml", "preset: smoke\nfilter: static\nclassifier: {labels: one.jsonl}\nresults: bad\n"
    )
    done = checkout.snakemake("bad/final_model.pt", "--configfile", "bad.yaml")
    assert done.code != 0
    assert "one.jsonl: found 1 other and 0 academic" in done.said
    assert "Traceback" not in done.said
    assert not (checkout.root / "bad/data/deduplicated/documents.parquet").exists()
