"""A user's mistakes, made at the command line: one clear message, exit code not 0, nothing left
behind.
"""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MODEL = "results/final_model.pt"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "train={lr: 7}"], ["train.lr", "'7'", "a number above 0 and at most 1"]),
        (["--config", "trian={lr: 0.1}"], ["trian: unknown key", "did you mean train"]),
        (["--config", "preset=smok"], ["preset", "did you mean smoke"]),
        (["--config", "results={x}"], ["results"]),
        (
            ["--config", "compare=[nowhere]"],
            ["compare: nowhere: no logs/training_metrics.csv there", "name another"],
        ),
        (
            ["--config", "train={base: nowhere}"],
            ["train.base: nowhere: no such file or folder; name an exported folder"],
        ),
    ],
    ids=[
        "text for a number",
        "unknown section",
        "unknown preset",
        "braces in a path",
        "no run to compare with",
        "no model to go on from",
    ],
)
def test_wrong_keys_stop_before_any_job(checkout, arguments, said):
    done = checkout.snakemake(MODEL, *arguments)
    assert done.code != 0
    assert "Traceback" not in done.said
    for part in said:
        assert part in done.said
    assert not (checkout.root / "results").exists()


def test_no_file_matches(checkout):
    checkout.write("none.yaml", 'sources: [{path: "nothing/*.parquet"}]\n')
    done = checkout.snakemake(MODEL, "--configfile", "none.yaml")
    assert done.code != 0
    assert "nothing/*.parquet" in done.said
    assert "Traceback" not in done.said


def test_a_missing_column_lists_those_there_are(checkout):
    (checkout.root / "in").mkdir(exist_ok=True)
    pq.write_table(pa.table({"id": [1, 2], "body": ["a", "b"]}), checkout.root / "in/a.parquet")
    checkout.write("column.yaml", 'preset: smoke\nsources: [{path: "in/a.parquet"}]\n')
    done = checkout.snakemake(MODEL, "--configfile", "column.yaml")
    assert done.code != 0
    assert "in/a.parquet" in done.said
    assert "body" in done.said
    assert "Traceback (most recent call last)" not in done.said
    assert not (checkout.root / "results/data").exists() or not list(
        (checkout.root / "results/data").rglob("*.parquet")
    )


def test_too_few_documents_for_a_batch_are_refused(checkout):
    (checkout.root / "in").mkdir(exist_ok=True)
    texts = [f"Number {i} is a short text about nothing much." for i in range(6)]
    pq.write_table(pa.table({"text": texts}), checkout.root / "in/few.parquet")
    checkout.write(
        "few.yaml",
        'preset: smoke\nresults: few\nsources: [{path: "in/few.parquet"}]\n'
        "tokenizer: {vocab_size: 270}\n",
    )
    done = checkout.snakemake("few/final_model.pt", "--configfile", "few.yaml")
    assert done.code != 0
    assert "tokens" in done.said
    assert "Traceback (most recent call last)" not in done.said
    assert not (checkout.root / "few/final_model.pt").exists()
