"""The checks between duplicates and tokens as scripts: what they write, what they say, and a
user's mistakes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from snakelm.data.documents.table import SCHEMA, DocumentWriter, read_documents
from snakelm.data.split import document_id
from snakelm.workflow.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [
    f"Note {i} is a whole sentence about the weather of the {i}th day of that year.\nmenu"
    for i in range(40)
]
RULES = {"terminal_punctuation": True, "min_words": 10}


def run(step: str, *arguments, code: int = 0) -> str:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "preparation" / f"{step}.py"),
        *map(str, arguments),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == code, done.stderr
    assert code == 0 or "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def given(tmp_path):
    """Documents of which some are bad, an evaluation set that holds one of them, and a
    configuration.
    """
    texts = [*TEXTS, "A short one.", "menu"]
    rows = [
        {
            "text": t,
            "source": "own",
            "id": int(document_id(t.encode())),
            "origin_file": "f",
            "origin_row": i,
        }
        for i, t in enumerate(texts)
    ]
    with DocumentWriter(tmp_path / "documents.parquet") as writer:
        writer.append(pa.RecordBatch.from_pylist(rows, SCHEMA))
    (tmp_path / "set.jsonl").write_text(json.dumps({"question": TEXTS[7]}) + "\n")
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"quality": RULES, "decontaminate": {"files": ["set.jsonl"]}})
    )
    return tmp_path


def quality(given, *more, code=0):
    written = ("--output", given / "quality.parquet", "--examples", given / "quality.json")
    config = ("--config", given / "config.yaml", *more)
    return run("quality", *config, "--documents", given / "documents.parquet", *written, code=code)


def decontaminate(given, evaluation="set.jsonl", code=0):
    written = ("--output", given / "clean.parquet", "--examples", given / "clean.json")
    read = ("--documents", given / "quality.parquet", "--evaluation", given / evaluation)
    return run("decontaminate", "--config", given / "config.yaml", *read, *written, code=code)


def rows_of(path):
    return [row for batch in read_documents(path) for row in batch.to_pylist()]


def test_one_check_after_the_other(given):
    assert "42 documents → 40 (min_words 1, no lines left 1; lines taken out of 40)" in quality(
        given
    )
    rows = rows_of(given / "quality.parquet")
    assert [row["origin_row"] for row in rows] == list(range(40))
    assert rows[3]["text"] == TEXTS[3].removesuffix("\nmenu")
    manifest = read_manifest(given / "quality.parquet")
    assert manifest["config"]["quality"]["min_words"] == 10
    assert manifest["counts"]["sources"]["own"]["dropped"] == {"min_words": 1, "no lines left": 1}
    assert set(json.loads((given / "quality.json").read_text())) == {"min_words", "no lines left"}

    assert "40 documents → 39 (set.jsonl 1)" in decontaminate(given)
    assert [row["origin_row"] for row in rows_of(given / "clean.parquet")] == [
        i for i in range(40) if i != 7
    ]
    manifest = read_manifest(given / "clean.parquet")
    assert [Path(one["path"]).name for one in manifest["inputs"]] == [
        "quality.parquet",
        "set.jsonl",
    ]
    (counts,) = manifest["counts"]["evaluation"].values()
    assert (counts["texts"], counts["documents_with_text"], counts["documents_dropped"]) == (
        1,
        1,
        1,
    )
    ((shown,),) = json.loads((given / "clean.json").read_text()).values()
    assert shown["found"].startswith("note 7 is a whole sentence")


def test_the_same_input_gives_the_same_bytes(given):
    files = [
        given / name for name in ("quality.parquet", "quality.json", "clean.parquet", "clean.json")
    ]
    quality(given), decontaminate(given)
    before = [file.read_bytes() for file in files]
    quality(given), decontaminate(given)
    assert [file.read_bytes() for file in files] == before


def test_a_users_mistakes_are_one_line_and_leave_nothing(given):
    (given / "strict.yaml").write_text(yaml.safe_dump({"quality": {"min_words": 1000}}))
    said = quality(given, given / "strict.yaml", code=2)
    assert "no document of 42 passes the rules of `quality`; loosen them" in said
    assert not (given / "quality.parquet").exists()
    quality(given)
    (given / "other.jsonl").write_text('{"body": "x"}\n')
    said = decontaminate(given, "other.jsonl", code=2)
    assert "none of the columns text, question, prompt; columns are body" in said
    assert not (given / "clean.parquet").exists()
