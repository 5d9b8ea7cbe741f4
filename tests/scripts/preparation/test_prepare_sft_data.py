"""prepare_sft_data as a user runs it: manifests, one-line errors, kills that leave nothing
half-done.
"""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from snakelm.data.packs import open_packs
from snakelm.errors import UserError
from snakelm.tokenizer import CHAT, EOT, train_bpe
from snakelm.workflow.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "preparation" / "prepare_sft_data.py"
FILES = {
    f"{split}_sft_packed.{kind}"
    for split in ("train", "val")
    for kind in ("bin", "idx", "bin.manifest.json")
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tokenizer, 3,000 conversations and the configuration that names them."""
    folder = tmp_path_factory.mktemp("made")
    texts = [f"What is {i} and {i * 7}? It is what it is, {i + 3}." for i in range(3000)]
    train_bpe(texts, 400, special_tokens=(EOT, *CHAT)).save(folder / "tokenizer")
    train_bpe(texts, 400).save(folder / "old")
    rows = [
        {"question": f"{text} {i % 97}", "answer": "So " * (i % 20) + "it is."}
        for i, text in enumerate(texts)
    ]
    rows += [{"question": "Hm?", "answer": None}]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    configure(folder / "config.yaml", folder / "a.jsonl")
    return folder


def configure(path, file, **more):
    source = {"path": str(file), **more.pop("source", {})}
    path.write_text(yaml.safe_dump({"sft_data": {"sources": [source], "context": 128}, **more}))
    return path


def command(made, output, config=None, tokenizer="tokenizer"):
    config = config or made / "config.yaml"
    given = (
        "--config",
        config,
        "--tokenizer",
        made / tokenizer,
        "--output-dir",
        output,
        "--log",
        output / "x.log",
    )
    return [sys.executable, str(SCRIPT), *map(str, given)]


def run(*arguments, code=0):
    done = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_files_manifests_and_the_line_that_counts(made, tmp_path):
    said = run(made, tmp_path)
    assert "a.jsonl: 3,001 rows → 3,000 conversations (null field 1 left out)" in said
    assert {p.name for p in tmp_path.iterdir()} == FILES | {"x.log"}
    for split in ("train", "val"):
        packs = open_packs(tmp_path / f"{split}_sft_packed.bin")
        manifest = read_manifest(packs.path)
        assert manifest["counts"][split]["conversations"] == packs.meta.documents
        assert manifest["counts"][split]["efficiency"] > 0.85
        assert manifest["counts"]["sources"][0]["reading"]["invalid"] == {"null field": 1}
        assert {Path(i["path"]).name for i in manifest["inputs"]} == {"a.jsonl", "meta.json"}
        assert packs.context == 128


def test_the_same_again_gives_the_same_bytes(made, tmp_path):
    run(made, tmp_path / "one")
    run(made, tmp_path / "two")
    for name in FILES:
        if "manifest" not in name:
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


WRONG = {
    "no such file": (
        lambda f: configure(f / "c.yaml", f / "none.jsonl"),
        "none.jsonl: no such file, .*sft_data.sources",
    ),
    "no known column": (
        lambda f: configure(f / "c.yaml", _text(f / "b.jsonl", '{"text": "a"}\n')),
        "b.jsonl: columns are text; expected",
    ),
    "nothing but questions": (
        lambda f: configure(
            f / "c.yaml", _text(f / "b.jsonl", '{"question": "a", "answer": ""}\n')
        ),
        r"no conversation left to learn from; .*empty turn 1",
    ),
    "unknown column name": (
        lambda f: configure(
            f / "c.yaml", _text(f / "b.jsonl", "{}\n"), source={"columns": {"qustion": "q"}}
        ),
        "columns.qustion: no format has such a column; did you mean question",
    ),
}


def _text(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_line(made, tmp_path, name):
    make, message = WRONG[name]
    said = run(made, tmp_path / "out", make(tmp_path), code=2)
    line = said.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert re.search(message, line), line
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"x.log"}


def test_a_tokenizer_without_chat_tokens_is_refused(made, tmp_path):
    said = run(made, tmp_path, None, "old", code=2)
    assert "has no <|system|>, <|user|>, <|assistant|>, <|end|>" in said


@pytest.mark.parametrize("limit", [1, 5000, 100_000])
def test_no_room_is_one_line_and_the_older_files_stay(made, tmp_path, limit):
    """RLIMIT_FSIZE stands for a full disk; what doesn't fit is the waiting tokens, the largest of
    all files.
    """
    run(made, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    done = subprocess.run(
        command(made, tmp_path)[:-2],  # no log: it would be the first not to fit
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert "disk full" in done.stderr
    assert "Traceback" not in done.stderr
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_killed_at_any_moment_leaves_no_accepted_part(made, tmp_path):
    """kill -9 over finished files: each is afterwards the whole of before, or refused."""
    run(made, tmp_path)
    before = {
        name: (tmp_path / name).read_bytes() for name in FILES if name.endswith(("bin", "idx"))
    }
    began = time.monotonic()
    run(made, tmp_path)
    takes, random_ = time.monotonic() - began, random.Random(3)
    for _ in range(4):
        process = subprocess.Popen(command(made, tmp_path), stderr=subprocess.DEVNULL)
        time.sleep(takes * random_.uniform(0.5, 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for split in ("train", "val"):
            path = tmp_path / f"{split}_sft_packed.bin"
            try:
                open_packs(path)
            except UserError:
                continue
            assert path.read_bytes() == before[path.name]
    assert not [
        name
        for name in os.listdir(tmp_path)
        if name not in FILES | {"x.log"} and not name.endswith(".tmp")
    ]
    run(made, tmp_path)
    assert all((tmp_path / name).read_bytes() == before[name] for name in before)
