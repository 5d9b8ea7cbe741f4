"""Preparation as a user runs it: the scripts one after the other, any number of shards, killed
and out of room.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from snakelm.data.bins import open_bin
from snakelm.data.documents.table import read_documents
from snakelm.data.split import is_validation
from snakelm.errors import UserError
from snakelm.tokenizer import Tokenizer, train_bpe
from snakelm.workflow.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(step: str, *arguments) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "scripts" / "preparation" / f"{step}.py"),
        *map(str, arguments),
    ]


def run(step: str, *arguments, code: int = 0, **options) -> str:
    done = subprocess.run(
        command(step, *arguments), capture_output=True, text=True, env=ENVIRONMENT, **options
    )
    assert done.returncode == code, done.stderr
    assert code == 0 or "Traceback" not in done.stderr
    return done.stderr


def write_config(folder: Path, **more) -> Path:
    path = folder / "config.yaml"
    values = {"preset": "smoke", "sources": [{"builtin": "synthetic", "limit": 4000}], **more}
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Documents and a tokenizer, made once by the scripts."""
    folder = tmp_path_factory.mktemp("made")
    c = write_config(folder)
    raw, sampled, kept = (
        folder / f"{name}.parquet" for name in ("synthetic", "sampled", "documents")
    )
    run(
        "collect",
        "--config",
        c,
        "--source",
        "synthetic",
        "--output",
        raw,
        "--log",
        folder / "collect.log",
    )
    run("sample_data", "--config", c, "--source", "synthetic", "--files", raw, "--output", sampled)
    run("deduplicate", "--config", c, "--inputs", sampled, "--output", kept)
    texts = [t for b in read_documents(kept, ["text"]) for t in b.column("text").to_pylist()]
    train_bpe(texts[:300], 400).save(folder / "tokenizer")
    return folder


def prepare(made: Path, output: Path, shards: int, **more) -> dict[str, bytes]:
    """All shards and the gathering; the files' bytes by name."""
    c = write_config(output.parent, **more)
    folder = output.parent / f"shards-{shards}"
    given = ("--config", c, "--tokenizer", made / "tokenizer")
    for i in range(shards):
        share = ("--shard", i, "--of", shards, "--output-dir", folder)
        run("prepare_shard", *given, "--documents", made / "documents.parquet", *share)
    run("prepare_data", *given, "--shards", folder, "--output-dir", output)
    return {p.name: p.read_bytes() for p in output.iterdir() if "manifest" not in p.name}


FILES = {"train.bin", "train.idx", "val.bin", "val.idx", "val_overlap.npy"}


@pytest.mark.parametrize("shards", [2, 5])
def test_the_bytes_do_not_depend_on_the_number_of_shards(made, tmp_path, shards):
    complete = prepare(made, tmp_path / "one", 1)
    assert set(complete) == FILES
    assert pq.ParquetFile(made / "documents.parquet").num_row_groups > 1
    assert prepare(made, tmp_path / "many", shards) == complete


def test_every_document_is_there_once_and_on_its_side(made, tmp_path):
    prepare(made, tmp_path / "out", 2)
    tokenizer = Tokenizer.load(made / "tokenizer")
    rows = [r for b in read_documents(made / "documents.parquet") for r in b.to_pylist()]
    ids = np.array([r["id"] for r in rows], np.uint64)
    held = is_validation(ids, 0.05, 1337)
    for split, side in (("train", ~held), ("val", held)):
        b = open_bin(tmp_path / "out" / f"{split}.bin", tokenizer.sha256)
        texts = [r["text"] for r, mine in zip(rows, side, strict=True) if mine]
        assert [tokenizer.decode(b.document(i)[1:]) for i in range(b.meta.documents)] == texts
        assert {int(b.tokens[o]) for o in b.document_offsets[:-1]} == {tokenizer.eot}
        assert b.document_ids.tolist() == ids[side].tolist()
        assert b.meta.text_bytes == sum(len(t.encode()) for t in texts)
    overlap = np.load(tmp_path / "out" / "val_overlap.npy")
    assert overlap.shape == (held.sum(),)
    assert 0 <= overlap.min() <= overlap.max() <= 1


def test_weights_repeat_training_documents_alone(made, tmp_path):
    source = {"builtin": "synthetic", "limit": 4000}
    plain = (
        prepare(made, tmp_path / "a" / "out", 1, sources=[source])
        if (tmp_path / "a").mkdir() is None
        else {}
    )
    (tmp_path / "b").mkdir()
    double = prepare(made, tmp_path / "b" / "out", 2, sources=[{**source, "weight": 2.5}])
    assert double["val.bin"] == plain["val.bin"]
    counts = np.unique(
        open_bin(tmp_path / "b" / "out" / "train.bin").document_ids, return_counts=True
    )[1]
    assert set(counts.tolist()) == {2, 3}
    assert abs(counts.mean() - 2.5) < 0.06

    said = read_manifest(tmp_path / "b" / "out" / "train.bin")["counts"]
    assert said["train"]["documents"] == counts.sum()
    assert said["train"]["different"] == counts.size
    assert said["val"]["different"] == said["val"]["documents"]


def test_each_artefact_has_a_manifest(made, tmp_path):
    prepare(made, tmp_path / "out", 1)
    for name in ("synthetic.parquet", "sampled.parquet", "documents.parquet"):
        assert read_manifest(made / name)["artefact"]["bytes"] == (made / name).stat().st_size
    counts = read_manifest(tmp_path / "out" / "train.bin")["counts"]
    assert counts["overlap"]["span"] == 16
    assert counts["train"]["tokens"] == open_bin(tmp_path / "out" / "train.bin").meta.tokens
    assert read_manifest(made / "sampled.parquet")["counts"]["taken"] == 4000
    assert (made / "collect.log").read_text()


def test_bins_of_another_tokenizer_or_split_are_refused(made, tmp_path):
    c = write_config(tmp_path)
    given = (
        "--documents",
        made / "documents.parquet",
        "--tokenizer",
        made / "tokenizer",
        "--output-dir",
        tmp_path,
    )
    run("prepare_shard", "--config", c, *given, "--shard", 0, "--of", 1)
    train_bpe(["another text"], 260).save(tmp_path / "tokenizer")
    rest = ("--shards", tmp_path, "--output-dir", tmp_path / "out")
    assert "made with tokenizer" in run(
        "prepare_data", "--config", c, "--tokenizer", tmp_path / "tokenizer", *rest, code=2
    )
    c = write_config(tmp_path, prepare={"val_fraction": 0.1})
    assert "made from another config" in run(
        "prepare_data", "--config", c, "--tokenizer", made / "tokenizer", *rest, code=2
    )
    assert not (tmp_path / "out" / "train.idx").exists()


@pytest.mark.parametrize(
    ("texts", "code", "message"),
    [
        (["the only one"], 2, "fewer than two different documents"),
        (["one", "two"], 0, "1 documents, val"),
    ],
    ids=["one document", "two documents"],
)
def test_small_data_is_split_or_refused(made, tmp_path, texts, code, message):
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    c = write_config(tmp_path, sources=[{"path": str(tmp_path / "in.parquet"), "name": "mine"}])
    sampled, kept = tmp_path / "sampled.parquet", tmp_path / "documents.parquet"
    run("sample_data", "--config", c, "--source", "mine", "--output", sampled)
    run("deduplicate", "--config", c, "--inputs", sampled, "--output", kept)
    given = ("--config", c, "--tokenizer", made / "tokenizer")
    share = ("--shard", 0, "--of", 1, "--output-dir", tmp_path)
    said = run("prepare_shard", *given, "--documents", kept, *share, code=code)
    if code == 0:
        said = run("prepare_data", *given, "--shards", tmp_path, "--output-dir", tmp_path / "out")
    assert message in said


def test_mistakes_are_one_line(made, tmp_path):
    c = write_config(tmp_path)
    said = run(
        "sample_data", "--config", c, "--source", "syntetic", "--output", tmp_path / "x", code=2
    )
    assert "no source 'syntetic'; sources are synthetic; did you mean synthetic?" in said
    said = run(
        "sample_data", "--config", c, "--source", "synthetic", "--output", tmp_path / "x", code=2
    )
    assert "give what collect wrote" in said
    given = ("--config", c, "--tokenizer", made / "tokenizer")
    share = ("--shard", 4, "--of", 4, "--output-dir", tmp_path)
    said = run("prepare_shard", *given, "--documents", made / "documents.parquet", *share, code=2)
    assert "numbered from 0 to 3" in said
    said = run("prepare_data", *given, "--shards", tmp_path, "--output-dir", tmp_path, code=2)
    assert "run prepare_shard first" in said


def test_preflight_writes_what_it_found(made, tmp_path):
    c = write_config(tmp_path, sources=[{"path": str(made / "documents.parquet")}])
    said = run("preflight", "--config", c, "--output", tmp_path / "preflight.json")
    assert "PREFLIGHT 1 file · 4,000 rows" in said
    assert json.loads((tmp_path / "preflight.json").read_text())["sources"][0]["rows"] == 4000


# Every step that can be killed: its arguments but for the output, and the files that must be
# complete or absent.
def steps(made: Path, c: Path, output: Path) -> dict[str, tuple[list[str], list[Path]]]:
    t, d = ("--tokenizer", made / "tokenizer"), ("--documents", made / "documents.parquet")
    shard = ("--shard", 0, "--of", 1, "--output-dir", output)
    kept, sampled = output / "documents.parquet", output / "sampled.parquet"
    bins = [output / "train-0.bin", output / "val-0.bin"]
    source = ("--source", "synthetic", "--files", made / "synthetic.parquet")
    return {
        "sample_data": (
            command("sample_data", "--config", c, *source, "--output", sampled),
            [sampled],
        ),
        "deduplicate": (
            command(
                "deduplicate", "--config", c, "--inputs", made / "sampled.parquet", "--output", kept
            ),
            [kept],
        ),
        "prepare_shard": (command("prepare_shard", "--config", c, *t, *d, *shard), bins),
    }


STEPS = ("sample_data", "deduplicate", "prepare_shard")
# Runs a script's main over and over in one process, so that kills land in the work and not in the
# imports.
LOOP = """
import runpy, sys
module = runpy.run_path(sys.argv[1])
print("start", flush=True)
while True:
    module["main"](sys.argv[2:])
    print("done", flush=True)
"""


def complete(path: Path) -> bytes | None:
    """The bytes of a finished artefact, None of an unfinished one."""
    if path.suffix == ".bin":
        try:
            return open_bin(path).tokens.tobytes()
        except UserError:
            return None
    return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize("step", STEPS)
def test_killed_steps_leave_everything_or_nothing(made, tmp_path, step):
    """kill -9 at random moments of the work, 8 times a step."""
    arguments, files = steps(made, write_config(tmp_path), tmp_path)[step]
    subprocess.run(arguments, check=True, capture_output=True, env=ENVIRONMENT)
    reference, random_, unfinished = [complete(f) for f in files], random.Random(step), 0
    assert None not in reference
    for _ in range(8):
        for file in files:
            file.unlink(missing_ok=True)
            file.with_suffix(".idx").unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", LOOP, *arguments[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        assert process.stdout.readline() == b"start\n"
        time.sleep(random_.random() * 0.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = [complete(f) for f in files]
        assert all(f in (None, r) for f, r in zip(found, reference, strict=True))
        unfinished += None in found
    assert unfinished, "no kill landed in the first round of the work"


@pytest.mark.parametrize("step", STEPS)
def test_no_room_is_one_clear_line_and_the_older_artefact_stays(made, tmp_path, step):
    """RLIMIT_FSIZE stands for a full disk; EFBIG takes the same way through the code as ENOSPC."""
    arguments, files = steps(made, write_config(tmp_path), tmp_path)[step]
    subprocess.run(arguments, check=True, capture_output=True, env=ENVIRONMENT)
    before = [complete(f) for f in files]
    largest = max(f.stat().st_size for f in files)
    for limit in (1, largest // 3, largest - 1):

        def limited(limit=limit):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        done = subprocess.run(
            arguments, capture_output=True, text=True, env=ENVIRONMENT, preexec_fn=limited
        )
        assert done.returncode == 2, done.stderr
        assert "disk full" in done.stderr
        assert "Traceback" not in done.stderr
        assert [complete(f) for f in files] == before
        assert not list(tmp_path.glob(".*.tmp"))
