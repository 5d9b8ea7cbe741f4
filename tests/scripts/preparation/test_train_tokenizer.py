"""scripts/preparation/train_tokenizer.py: what it writes, that it repeats, and how it says what is
wrong.
"""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.data.split import document_ids, is_validation, validation_threshold
from snakelm.tokenizer import CHAT, EOT, Tokenizer, train_bpe

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/preparation/train_tokenizer.py"
TEXTS = [f"the {word} {i} went on and on" for i in range(200) for word in ("cat", "dog", "snake")]


def run(folder: Path, settings: str, *more: str) -> subprocess.CompletedProcess:
    (folder / "config.yaml").write_text(settings)
    paths = ["--config", folder / "config.yaml", "--documents", folder / "documents.parquet"]
    command = [
        sys.executable,
        SCRIPT,
        *paths,
        "--output",
        folder / "tokenizer",
        "--log",
        folder / "log.txt",
        *more,
    ]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path):
    ids = document_ids([text.encode() for text in TEXTS])
    pq.write_table(
        pa.table({"text": pa.array(TEXTS, pa.large_string()), "id": ids}),
        tmp_path / "documents.parquet",
    )
    return tmp_path


def test_trains_on_what_is_not_held_out_and_repeats_to_the_byte(folder):
    settings = (
        "tokenizer: {vocab_size: 300, pattern: gpt2}\nprepare: {val_fraction: 0.3}\nseed: 5\n"
    )
    done = run(folder, settings)
    assert done.returncode == 0, done.stderr
    tokenizer = Tokenizer.load(folder / "tokenizer")
    ids = document_ids([text.encode() for text in TEXTS])
    held_out = is_validation(ids, 0.3, 5, validation_threshold(ids, 0.3, 5))
    training = [text for text, out in zip(TEXTS, held_out, strict=True) if not out]
    assert tokenizer.sha256 == train_bpe(training, 300, "gpt2", special_tokens=(EOT, *CHAT)).sha256
    assert tokenizer.facts["bytes"] == sum(map(len, training))
    manifest = json.loads((folder / "tokenizer/meta.json.manifest.json").read_text())
    assert manifest["counts"]["tokenizer_sha256"] == tokenizer.sha256
    assert [Path(item["path"]).name for item in manifest["inputs"]] == ["documents.parquet"]
    assert "300 tokens" in (folder / "log.txt").read_text()
    first = {
        name: (folder / "tokenizer" / name).read_bytes()
        for name in ("ranks.tiktoken", "tokenizer.json", "meta.json")
    }
    assert run(folder, settings, "--threads", "2").returncode == 0
    assert first == {name: (folder / "tokenizer" / name).read_bytes() for name in first}


def test_a_ranks_file_is_brought_into_the_same_form(folder):
    train_bpe(TEXTS, 280, "o200k").save(folder / "foreign")
    ranks = folder / "foreign/ranks.tiktoken"
    done = run(folder, f"tokenizer: {{kind: tiktoken, file: {ranks}, pattern: o200k}}\n")
    assert done.returncode == 0, done.stderr
    tokenizer = Tokenizer.load(folder / "tokenizer")
    assert (tokenizer.pattern, tokenizer.vocab_size) == ("o200k", 284)
    assert tokenizer.special_tokens == {EOT: 279, **{name: 280 + i for i, name in enumerate(CHAT)}}
    assert (folder / "tokenizer/ranks.tiktoken").read_bytes() == ranks.read_bytes()


def test_a_text_too_small_for_the_vocabulary_gives_a_smaller_one(folder):
    done = run(folder, "tokenizer: {vocab_size: 200000}\n")
    assert done.returncode == 0, done.stderr
    size = Tokenizer.load(folder / "tokenizer").vocab_size
    assert 300 < size < 200_000
    assert f"warning: tokenizer.vocab_size: 200,000 asked for, {size:,} taken" in done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("tokenizer: {train_mb: 0.000001}\n", "raise tokenizer.train_mb"),
        (
            "tokenizer: {kind: tiktoken, file: /nowhere/x.tiktoken}\n",
            "error: /nowhere/x.tiktoken: no such file",
        ),
    ],
    ids=["too-little-text", "no-file"],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(folder, settings, message):
    done = run(folder, settings)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "tokenizer/meta.json").exists()
