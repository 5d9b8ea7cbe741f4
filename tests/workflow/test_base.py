"""Going on from a model and from a finished run, by the command line, end to end.

python -m pytest -m long tests/workflow/test_base.py     a few minutes
"""

import json
import shutil

import pytest

FIRST = """\
preset: smoke
export: base
sources: [{builtin: synthetic, limit: 500}]
train: {steps: 24, eval_every: 12, save_every: 12}
"""
MORE = """\
preset: smoke
results: more
export: base
sources: [{builtin: synthetic, limit: 400}]
tokenizer: {vocab_size: 560}
train: {steps: 12, eval_every: 6, save_every: 6, lr: 0.01, base: brought}
"""
MODEL, NEXT = "results/final_model.pt", "more/final_model.pt"


def jobs(checkout):
    done = checkout.snakemake("-n", NEXT, "--configfile", "more.yaml")
    assert done.code == 0, done.said
    return done.jobs()


def result_of(checkout, model):
    manifest = json.loads((checkout.root / f"{model}.manifest.json").read_text())
    return manifest["counts"]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_run_goes_on_from_an_export_and_a_longer_one_from_a_finished_one(checkout):
    checkout.write("first.yaml", FIRST)
    exported = "results/models/final/config.json"
    done = checkout.snakemake(exported, "--configfile", "first.yaml", timeout=1500)
    assert done.code == 0, done.said

    # From the exported folder, moved to where only safetensors are.
    shutil.copytree(checkout.root / "results/models/final", checkout.root / "brought")
    (checkout.root / "brought/model.pt").unlink()
    checkout.write("more.yaml", MORE)
    done = checkout.snakemake(NEXT, "--configfile", "more.yaml", timeout=1500)
    assert done.code == 0, done.said
    assert "tokenizer of train.base extended: 512 tokens and 48 learned" in done.said
    counts = result_of(checkout, NEXT)
    assert counts["base"]["name"] == "brought"
    assert counts["result"]["val_bpb"] < counts["result"]["val_bpb_before"]

    # What it holds decides.
    assert jobs(checkout) == set()
    weights = checkout.root / "brought/model.safetensors"
    weights.touch()
    assert jobs(checkout) == set()
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert jobs(checkout) == {"train"}

    # More steps than the finished run had.
    checkout.write("longer.yaml", FIRST.replace("steps: 24", "steps: 40"))
    done = checkout.snakemake(MODEL, "--configfile", "longer.yaml", timeout=900)
    assert done.code == 0, done.said
    assert "goes on from step 10 of run" in done.said
    assert result_of(checkout, MODEL)["result"]["continues"]["step"] == 10
