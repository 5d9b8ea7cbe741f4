"""The trace of a real run, made by its scripts: it says what is there, and finds every change there
can be.
"""

import importlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from scripts.analysis import find_documents
from scripts.analysis.trace import main
from snakelm.data.bins import open_bin
from snakelm.data.conversations.token_store import conversation_bytes
from snakelm.data.corpora import questions
from snakelm.data.documents.forget_list import text_hash
from snakelm.errors import UserError
from snakelm.provenance.chain import read_chain
from snakelm.provenance.token_origin import token_origin
from snakelm.workflow.code_digest import ROOT
from snakelm.workflow.manifest import manifest_path, read_manifest, write_manifest

ATTACK = "\x1b[31mred\x1b[0m \u202eright to left"
THRICE = "Three times the same, said the keeper of the light."
CONFIG = {
    "preset": "smoke",
    "sources": [
        {"name": "notes", "path": "my/*.parquet", "text": "body"},
        {"name": "lines", "path": "my/lines.jsonl"},
        {"builtin": "synthetic", "limit": 60},
    ],
    "deduplicate": {"exact": False, "minhash": False},
    "quality": {"min_words": 3},
    "tokenizer": {"vocab_size": 300},
    "model": {
        "layers": 1,
        "width": 16,
        "heads": 1,
        "kv_heads": 1,
        "head_dim": 16,
        "hidden": 24,
        "context": 48,
    },
    "train": {
        "steps": 4,
        "batch_tokens": 192,
        "micro_batch": 4,
        "eval_every": 4,
        "sample_tokens": 2,
    },
    "sft_data": {"sources": [{"path": "my/talks.jsonl"}], "val_fraction": 0.2},
    "sft": {"epochs": 1.0, "batch_rows": 4, "micro_batch": 4},
    "preferences": {
        "sources": [
            {"path": "my/pairs.jsonl"},
            {"path": "my/sides.jsonl", "columns": {"prompt": "asked"}},
        ],
        "val_fraction": 0.2,
    },
}
FINAL = "results/models/final"


def note(i: int) -> str:
    return f"Note {i}: the ferry left at {i % 24} with {i * 7 % 50} people, said the harbour."


def step(stage: str, name: str, *arguments: str) -> None:
    assert (
        importlib.import_module(f"scripts.{stage}.{name}").main(["--config", "c.yaml", *arguments])
        == 0
    )


def make_run() -> None:
    """A complete run in the current folder, step by step as the rules do it."""
    data, processed, shards = (
        "results/data",
        "results/data/processed",
        "results/data/processed/shards",
    )
    step(
        "preparation",
        "collect",
        "--source",
        "synthetic",
        "--output",
        f"{data}/raw/synthetic.parquet",
    )
    files = {
        "notes": "my/notes.parquet",
        "lines": "my/lines.jsonl",
        "synthetic": f"{data}/raw/synthetic.parquet",
    }
    for source, file in files.items():
        output = f"{data}/sampled/{source}.parquet"
        step("preparation", "sample_data", "--source", source, "--files", file, "--output", output)
    sampled, kept = (
        [f"{data}/sampled/{source}.parquet" for source in files],
        f"{data}/deduplicated/documents.parquet",
    )
    step("preparation", "deduplicate", "--inputs", *sampled, "--output", kept)
    documents, examples = f"{data}/quality/documents.parquet", f"{data}/quality/examples.json"
    step(
        "preparation", "quality", "--documents", kept, "--output", documents, "--examples", examples
    )
    step(
        "preparation", "train_tokenizer", "--documents", documents, "--output", "results/tokenizer"
    )
    made = ["--tokenizer", "results/tokenizer", "--output-dir"]
    for shard in "01":
        share = ["--documents", documents, "--shard", shard, "--of", "2"]
        step("preparation", "prepare_shard", *share, *made, shards)
    step("preparation", "prepare_data", "--shards", shards, *made, processed)
    shutil.rmtree(shards)
    step("preparation", "prepare_sft_data", *made, processed)
    step("preparation", "prepare_preferences", *made, processed)
    step("training", "train", "--results", "results", "--threads", "1")
    step("training", "train_sft", "--results", "results", "--threads", "1")
    given = [
        "--model",
        "results/sft_model.pt",
        "--tokenizer",
        "results/tokenizer",
        "--output",
        FINAL,
    ]
    step("analysis", "export", *given)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run, which is also the current one."""
    folder, before = tmp_path_factory.mktemp("run"), Path.cwd()
    os.chdir(folder)
    (folder / "my").mkdir()
    texts = [note(i) for i in range(80)]
    pq.write_table(pa.table({"body": [*texts, ATTACK, *[THRICE] * 3]}), "my/notes.parquet")
    lines = [
        json.dumps({"text": f"Line {i} of the tide table, which fell to {i * i} fathoms."})
        for i in range(40)
    ]
    Path("my/lines.jsonl").write_text("\n".join(lines) + "\n")
    talks = [json.dumps({"question": f"{i} and 1?", "answer": f"{i + 1}."}) for i in range(30)]
    Path("my/talks.jsonl").write_text("\n".join(talks) + "\n")
    for name, asked in (("pairs", "prompt"), ("sides", "asked")):
        rows = [{asked: f"{name} {i}?", "chosen": f"{i}.", "rejected": "no"} for i in range(20)]
        Path(f"my/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for file in ("my/notes.parquet", "my/talks.jsonl"):  # which is nobody's but the user's
        manifest_path(file).write_text('{"manifest": "of the ferry"}')
    Path("c.yaml").write_text(yaml.safe_dump(CONFIG))
    make_run()
    yield folder
    os.chdir(before)


def distrusted(target=FINAL) -> list[str]:
    """What `trace` would say against it."""
    chain = read_chain(target)
    chain.verify()
    return chain.problems


def chain_files(target=FINAL) -> list[Path]:
    """Every file of the chain and its manifests."""
    chain = read_chain(target)
    manifests = {manifest_path(node.path) for node in chain.nodes.values() if node.manifest}
    return sorted({claim.path for claim in chain.claims} | manifests)


def test_the_tree_goes_down_to_own_files_and_is_verified(run, capsys):
    assert main([FINAL]) == 0
    said = capsys.readouterr().out
    for name in (
        "my/notes.parquet",
        "my/lines.jsonl",
        "my/talks.jsonl",
        "train.idx",
        "ranks.tiktoken",
    ):
        assert name in said, name
    assert (
        read_manifest("results/data/quality/documents.parquet")["artefact"]["sha256"][:12] in said
    )
    assert "through 2 shards" in said
    assert "VERIFIED" in said
    assert "✗" not in said


def test_token_files_name_documents_and_tokenizer_and_no_shard(run):
    names = [one["path"] for one in read_manifest("results/data/processed/train.bin")["inputs"]]
    assert names == ["results/tokenizer/meta.json", "results/data/quality/documents.parquet"]


def test_every_flipped_byte_is_found(run):
    for file in chain_files():
        original = file.read_bytes()
        for i in range(6):
            place = (len(original) - 1) * i // 5
            damaged = bytearray(original)
            damaged[place] ^= 1 << i
            file.write_bytes(damaged)
            assert distrusted(), f"byte {place} of {file}"
        file.write_bytes(original)
    assert not distrusted()


def test_every_swapped_pair_of_files_is_found(run):
    files, aside = chain_files(), run / "aside"
    kinds = itertools.groupby(
        sorted(files, key=lambda f: f.suffixes[-2:]), key=lambda f: f.suffixes[-2:]
    )
    pairs = [pair for _, same in kinds for pair in itertools.combinations(list(same), 2)]
    pairs = [(a, b) for a, b in pairs if a.read_bytes() != b.read_bytes()]
    assert len(pairs) > 100
    for a, b in pairs:
        for old, new in ((a, aside), (b, a), (aside, b)):
            old.rename(new)
        assert distrusted(), f"{a} and {b}"
        for old, new in ((a, aside), (b, a), (aside, b)):
            old.rename(new)
    assert not distrusted()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("results/data/processed/train.idx", "changed since it was written"),
        ("my/lines.jsonl", "not what"),
        ("results/final_model.pt.manifest.json", "seal does not fit"),
    ],
    ids=["a file beside", "an own source", "a manifest"],
)
def test_it_says_what_differs_and_exits_1(run, file, said, capsys):
    path = Path(file)
    original = path.read_bytes()
    path.write_bytes(original.replace(b"1", b"2", 1))
    try:
        assert main([FINAL]) == 1
    finally:
        path.write_bytes(original)
    stderr = capsys.readouterr().err
    assert said in stderr
    assert path.name in stderr


@pytest.mark.parametrize("more", [[], ["--token", "5"]], ids=["the tree", "a token"])
def test_a_reader_that_has_enough_sees_no_traceback(run, more):
    command = [sys.executable, str(ROOT / "scripts/analysis/trace.py"), FINAL, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def test_a_deleted_step_is_a_problem_and_a_missing_own_file_a_note(run, tmp_path, capsys):
    for name, code, said in (
        ("my/lines.jsonl", 0, "not there any more"),
        ("results/final_model.pt", 1, "missing"),
    ):
        shutil.move(name, tmp_path / "away")
        try:
            assert main([FINAL]) == code
        finally:
            shutil.move(tmp_path / "away", name)
        assert f"{name}: {said}" in capsys.readouterr().err


def test_a_manifest_of_the_same_file_from_another_time_is_found(run):
    path = manifest_path("results/tokenizer/meta.json")
    original = path.read_text()
    step("preparation", "train_tokenizer", "--documents", "results/data/quality/documents.parquet",
         "--output", "results/tokenizer")  # fmt: skip
    chain = read_chain(FINAL)
    chain.verify()
    assert chain.problems == []
    assert any("made again after" in note for note in chain.notes)
    path.write_text(original)
    assert not read_chain(FINAL).notes


def test_a_run_that_was_moved_is_found_where_it_is(run, tmp_path, monkeypatch, capsys):
    shutil.copytree("results", tmp_path / "elsewhere")
    assert main([str(tmp_path / "elsewhere/models/final")]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["elsewhere/models/final"]) == 0
    said = capsys.readouterr()
    assert "elsewhere/final_model.pt" in said.out
    assert "my/notes.parquet: not there any more" in said.err


@pytest.mark.parametrize(
    "target",
    [
        "results",
        "results/data/processed/val.idx",
        f"{FINAL}/config.json",
        "results/logs/training_metrics.csv",
    ],
    ids=["everything", "a token file's index", "a file of the export", "metrics"],
)
def test_files_beside_and_whole_folders_can_be_asked_too(run, target, capsys):
    assert main([target]) == 0
    assert "by " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no such file"),
        (["my"], "no manifest speaks of it"),
        (["my/lines.jsonl"], "no manifest speaks of it"),
        ([FINAL, "--token", "99999999"], "has the tokens 0 to"),
        ([FINAL, "--token", "-1"], "has the tokens 0 to"),
        (["results/tokenizer", "--token", "1"], "no train.bin"),
    ],
    ids=["a missing file", "a folder of others", "an own file", "beyond", "below", "no token file"],
)
def test_what_can_not_be_traced_is_a_persons_error(run, arguments, said):
    with pytest.raises(ValueError, match=said):
        main(arguments)


def starts():
    """Where documents of train.bin begin, in tokens."""
    return open_bin("results/data/processed/train.bin").document_offsets[:-1].tolist()


def test_a_token_names_its_file_and_row_and_the_row_is_read_again(run, capsys):
    seen = set()
    for start in starts()[::12]:
        assert main([FINAL, "--token", str(start + 2)]) == 0
        said = capsys.readouterr().out
        source, name, row = re.search(r"source (\w+): (?:(.+), )?row (\d+) \(", said).groups()
        seen.add((source, name))
        if name:
            assert "the same text, byte for byte" in said
            if THRICE[:9] in said:
                continue
            assert f"<|endoftext|>{'Note' if source == 'notes' else 'Line'} {row}" in said
        else:
            assert "generated, seed 1337" in said
    assert seen == {("notes", "my/notes.parquet"), ("lines", "my/lines.jsonl"), ("synthetic", None)}


def test_rows_with_the_same_text_are_counted(run):
    chain = read_chain(FINAL)
    found = [
        one for start in starts() if "Three" in (one := token_origin(chain, "train", start)).after
    ]
    assert all(one.where.startswith("my/notes.parquet, row 81") for one in found)
    assert all("2 more rows have this very text" in one.confirmed for one in found)
    assert found


def test_a_held_out_token_and_a_token_of_a_conversation_have_an_origin_too(run, capsys):
    assert main([FINAL, "--token", "1", "--bin", "val"]) == 0
    assert re.search("the same text|generated", capsys.readouterr().out)
    assert main([FINAL, "--token", "3", "--bin", "sft"]) == 0
    said = capsys.readouterr().out
    row = int(said.split("my/talks.jsonl, row ")[1].split(" ")[0])
    assert f"<|user|>{row} and 1?" in said
    assert "the same conversation" in said


def test_a_changed_row_is_said(run, capsys):
    Path("my/notes.parquet").rename("kept")
    pq.write_table(pa.table({"body": ["another"] * 84}), "my/notes.parquet")
    try:
        assert main([FINAL, "--token", "2"]) == 0
    finally:
        Path("kept").replace("my/notes.parquet")
    assert "another text" in capsys.readouterr().out


def test_no_text_of_a_corpus_steers_the_terminal(run, capsys):
    chain = read_chain(FINAL)
    poisoned = [start for start in starts() if "red" in token_origin(chain, "train", start).after]
    assert main([FINAL, "--token", str(poisoned[0] + 3)]) == 0
    said = capsys.readouterr().out
    assert "\N{REPLACEMENT CHARACTER}" in said
    assert not set(said) & {"\x1b", "\u202e"}


def test_documents_are_found_with_the_hashes_that_forget_takes(run, capsys):
    assert find_documents.main(["left at 3 with"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [text for i in range(80) if "left at 3 with" in (text := note(i))]
    assert [line.split("  # ")[0] for line in lines] == [text_hash(t.encode()) for t in found]
    assert lines[0].endswith("# notes, my/notes.parquet, row 3 (the first is 0)")

    assert find_documents.main([r"Line \d of", "--regex", "--show"]) == 0
    assert "Line 7 of the tide table" in capsys.readouterr().out
    assert find_documents.main(["nobody wrote this"]) == 1
    with pytest.raises(UserError, match="it is in every text"):
        find_documents.main(["x*", "--regex"])


def test_conversations_are_found_too_and_nothing_steers_the_terminal(run, capsys):
    assert find_documents.main(["7 and 1?", "--conversations"]) == 0
    shown = capsys.readouterr().out
    talks = [
        [{"role": "user", "content": f"{i} and 1?"}, {"role": "assistant", "content": f"{i + 1}."}]
        for i in (7, 17, 27)
    ]
    hashes = [text_hash(conversation_bytes(talk)) for talk in talks]
    assert [line.split("  # ")[0] for line in shown.splitlines()] == hashes

    assert find_documents.main(["right to left", "--show"]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["pairs", "sides"], ids=["our_columns", "columns_of_their_own"])
def test_preferences_are_found_by_either_answer_once_and_with_their_place(run, capsys, name):
    assert find_documents.main([f"{name} 7?", "--preferences", "--show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    hashes = []
    for answer in ("7.", "no"):
        asked = {"role": "user", "content": f"{name} 7?"}
        pair = [asked, {"role": "assistant", "content": answer}]
        hashes.append(text_hash(conversation_bytes(pair)))
    assert [line.split("  # ")[0] for line in lines] == hashes
    where = f"  # my/{name}.jsonl, row 7 (the first is 0): {name} 7?"
    assert all(where in line for line in lines)
    assert find_documents.main(["nobody asked this", "--preferences"]) == 1


def test_built_in_preferences_are_found(tmp_path, capsys, monkeypatch):
    asked = {"role": "user", "content": "What is 2 plus 3?"}
    sums = [[asked, {"role": "assistant", "content": "2 plus 3 is 5."}]]
    monkeypatch.setattr(questions, "conversations", lambda seed: sums)
    packs = tmp_path / "data/processed/train_preferences.bin"
    packs.parent.mkdir(parents=True)
    packs.write_bytes(b"")
    config = {"preferences": {"sources": [{"builtin": "docs"}]}}
    write_manifest(packs, script=find_documents.__file__, inputs=[], config=config, seed=3)

    assert find_documents.main(["2 plus 3?", "--preferences", "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  # ")[1] for line in lines] == ["docs", "docs"], "both sides"
    assert lines[0].split()[0] == text_hash(conversation_bytes(sums[0]))
