"""Each of the user's own files is known by its content: an older one in its place, or another
behind its link, makes what is made from it stale, and nothing else.
"""

import json
import os

import pytest

from snakelm.tokenizer import train_bpe

OWN = """\
preset: smoke
sources: [{path: my/play.txt}]
decontaminate: {files: [my/set.jsonl]}
tokenizer: {kind: tiktoken, file: my/ranks.tiktoken}
sft_data: {sources: [{path: my/talks.jsonl}], val_fraction: 0.2}
"""
MADE = ["results/tokenizer/meta.json", "results/data/processed/train_sft_packed.bin"]
TARGETS = [*MADE, "--configfile", "my.yaml"]
TALKS = [{"question": f"{i} and 1?", "answer": f"{i + 1}."} for i in range(60)]
SPEECHES = [f"ANNA:\nline {i} of the play, and {i * i} more" for i in range(400)]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


# A file → what replaces it, and the steps that have a reason of their own to run again.
REPLACED = {
    "my/play.txt": ("\n\n".join(SPEECHES[:200]), "sample_data"),
    "my/set.jsonl": (lines([{"text": SPEECHES[7] * 3}]), "decontaminate"),
    "my/ranks.tiktoken": (None, "train_tokenizer"),
    "my/talks.jsonl": (lines(TALKS[:40]), "prepare_sft_data"),
}
AFTER = {
    "sample_data": {"deduplicate", "decontaminate", "train_tokenizer", "prepare_sft_data"},
    "decontaminate": {"train_tokenizer", "prepare_sft_data"},
    "train_tokenizer": {"prepare_sft_data"},
    "prepare_sft_data": set(),
}


def ranks(folder, size):
    train_bpe(SPEECHES, size).save(folder)
    return (folder / "ranks.tiktoken").read_text()


@pytest.fixture(scope="module")
def run(checkout, tmp_path_factory):
    """A run up to the packs, from files of every kind."""
    checkout.write("my/play.txt", "\n\n".join(SPEECHES))
    checkout.write("my/set.jsonl", lines([{"text": SPEECHES[3] * 3}]))
    checkout.write("my/ranks.tiktoken", ranks(tmp_path_factory.mktemp("first"), 300))
    checkout.write("my/talks.jsonl", lines(TALKS))
    checkout.write("my.yaml", OWN)
    first = checkout.snakemake(MADE[0], "--configfile", "my.yaml")
    assert first.code == 0, first.said
    assert "play: 1 file → " in first.said
    done = checkout.snakemake(*TARGETS)
    assert done.code == 0, done.said
    return checkout


def jobs(run):
    done = run.snakemake("-n", *TARGETS)
    assert done.code == 0, done.said
    return done.jobs()


@pytest.mark.parametrize(
    ("name", "way"),
    [*((name, "older") for name in REPLACED), ("my/talks.jsonl", "link")],
    ids=lambda value: value.removeprefix("my/"),
)
def test_another_content_reruns_what_is_made_from_it(run, tmp_path, name, way):
    text, step = REPLACED[name]
    file, other = run.root / name, run.root / "other"
    kept = file.with_name("kept")
    file.rename(kept)
    try:
        other.write_text(text or ranks(tmp_path, 290))
        os.utime(other, ns=(1, 1))
        other.rename(file) if way == "older" else file.symlink_to(other)
        assert {step} <= jobs(run) <= {step} | AFTER[step]
    finally:
        file.unlink()
        kept.rename(file)


def test_what_came_back_is_what_was_there(run):
    assert jobs(run) == set()
