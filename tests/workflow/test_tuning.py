"""Instruction tuning in the workflow: a user's own conversations, and what a changed key makes
again.
"""

import json

import pytest
import torch

OWN = """\
preset: smoke
sources: [{builtin: synthetic, limit: 500}]
train: {steps: 24, eval_every: 12, save_every: 8}
sft_data: {sources: [{path: my/talks.jsonl}], val_fraction: 0.2}
sft: {eval_every: 5, save_every: 5}
"""
MODEL, TUNED = "results/final_model.pt", "results/sft_model.pt"


@pytest.fixture
def tuned(checkout):
    """The run after `snakemake … results/sft_model.pt`; done once, found finished by the later
    tests.
    """
    talks = [{"question": f"{i} and 1?", "answer": f"{i + 1}."} for i in range(120)]
    checkout.write("my/talks.jsonl", "".join(json.dumps(talk) + "\n" for talk in talks))
    checkout.write("my.yaml", OWN)
    if not (checkout.root / TUNED).exists():
        done = checkout.snakemake(TUNED, "--configfile", "my.yaml")
        assert done.code == 0, done.said
    return checkout


def dry(checkout, *more, target=TUNED):
    done = checkout.snakemake("-n", target, "--configfile", "my.yaml", *more)
    assert done.code == 0, done.said
    return done


def test_own_conversations_become_a_tuned_model(tuned):
    model = torch.load(tuned.root / TUNED, weights_only=True)
    assert model["chat"] is True
    results = tuned.root / "results"
    for name in (
        "logs/sft_training.log",
        "logs/sft_metrics.csv",
        "logs/sft_samples.jsonl",
        "logs/steps/train_sft.log",
    ):
        assert (results / name).stat().st_size > 0, name
    assert list((results / "checkpoints").glob("*/sft_step_*.pt"))
    result = json.loads((results / "sft_model.pt.manifest.json").read_text())["counts"]["result"]
    assert result["val_loss"] < result["val_loss_before"]
    assert "Nothing to be done" in dry(tuned).said


def test_the_tuned_model_is_traced_to_the_persons_own_files(tuned):
    done = tuned.run("python", "scripts/analysis/trace.py", TUNED)
    assert done.code == 0, done.said
    for part in (
        "my/talks.jsonl",
        "results/data/raw/synthetic.parquet",
        "through 2 shards",
        "VERIFIED",
    ):
        assert part in done.said, part


@pytest.mark.parametrize(
    ("change", "reruns"),
    [
        ("sft: {lr: 0.003}", {"train_sft"}),
        ("sft: {lora_rank: 4}", {"train_sft"}),
        ("sft: {mix: 0.2}", {"train_sft"}),
        ("sft: {mix: 0}", {"train_sft"}),
        ("sft: {log_every: 3, keep: 7}", set()),
        ("sft_data: {val_fraction: 0.3}", {"prepare_sft_data", "train_sft"}),
        ("train: {lr: 0.03}", {"train", "train_sft"}),
    ],
    ids=[
        "sft.lr",
        "sft.lora_rank",
        "sft.mix",
        "sft.mix_off",
        "what_is_only_shown",
        "sft_data",
        "train.lr",
    ],
)
def test_what_a_changed_key_reruns(tuned, change, reruns):
    tuned.write("more.yaml", change)
    assert dry(tuned, "more.yaml").jobs() == reruns
    if "sft" in change:
        assert dry(tuned, "more.yaml", target=MODEL).jobs() == set(), "the base model"


def test_a_comment_in_the_library_tunes_nothing_again_and_is_said(tuned):
    file = tuned.root / "snakelm/training/finetuning.py"
    before = file.read_text()
    try:
        file.write_text(before + "\n# a remark\n")
        said = dry(tuned).said
    finally:
        file.write_text(before)
    assert "Nothing to be done" in said
    assert f"{TUNED} was made by another version" in said


def test_the_tuned_model_answers(tuned):
    done = tuned.run(
        "python", "scripts/analysis/chat.py", "--prompt", "7 and 1?", "--max-tokens", "8"
    )
    assert done.code == 0, done.said


def test_another_base_needs_no_pretraining(tuned):
    (tuned.root / "base.pt").write_bytes((tuned.root / MODEL).read_bytes())
    tuned.write("based.yaml", "sft: {base: base.pt}\ntrain: {lr: 0.03}\n")
    assert dry(tuned, "based.yaml").jobs() == {"train_sft"}


def test_what_is_known_by_heart_is_asked_of_every_model_that_is_left(checkout):
    """The last one is the model that is published."""
    pair = {"prompt": "1 and 1?", "chosen": "2.", "rejected": "3."}
    checkout.write("my/pairs.jsonl", json.dumps(pair) + "\n")
    checkout.write("forget.txt", "0" * 16 + "\n")
    more = "preferences: {sources: [{path: my/pairs.jsonl}]}\nforget: {documents: forget.txt}\n"
    checkout.write("preferring.yaml", "preset: smoke\n" + more)
    target = "results/tables/memorisation.html"
    done = checkout.snakemake("-n", target, "--configfile", "preferring.yaml")
    assert done.code == 0, done.said
    asked = done.said.partition("rule memorisation:")[2].partition("output:")[0]
    models = ("final_model.pt", "sft_model.pt", "preference_model.pt")
    assert [name for name in models if f"results/{name}" in asked] == list(models)
