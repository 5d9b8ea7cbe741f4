"""What is to be forgotten goes: the named, their near copies, what a rule finds; nothing else."""

import pyarrow as pa
import pytest

from snakelm.config import Deduplicate, Forget
from snakelm.data.documents.forget import forget
from snakelm.data.documents.forget_list import check_forget, read_hashes, text_hash
from snakelm.data.documents.table import SCHEMA, DocumentWriter, read_documents
from snakelm.data.split import document_id
from snakelm.errors import UserError
from snakelm.log import Log

NAMES = ["otter", "heron", "badger", "lynx", "stoat", "raven", "viper", "hare"]
TEXTS = [
    f"Letter {i}. The {NAMES[i % 8]} wrote to the {NAMES[i * 3 % 8]} about {i * i} stones, "
    f"{i + 7} boats and the price of {i * 31 % 97} oaks in the year {1200 + i * 13 % 700}."
    for i in range(40)
]
COPY = TEXTS[5] + " Signed."  # near enough for deduplication, and another text


def write(path, texts, source="own"):
    rows = [
        {
            "text": text,
            "source": source,
            "id": int(document_id(text.encode())),
            "origin_file": f"letters-{i % 2}.jsonl",
            "origin_row": i,
        }
        for i, text in enumerate(texts)
    ]
    with DocumentWriter(path) as writer:
        for row in rows:  # several batches
            writer.append(pa.RecordBatch.from_pylist([row], schema=SCHEMA))
    return path


def sha256(text):
    return text_hash(text.encode())


def run(folder, rules, *, lines=(), kept=TEXTS, sampled=TEXTS):
    """(texts left, counts, places, what was said)"""
    lists = []
    if lines:
        lists = [folder / "list.txt"]
        lists[0].write_text("\n".join(lines))
    documents = write(folder / "documents.parquet", kept)
    before = write(folder / "sampled.parquet", sampled)
    out = folder / "out.parquet"
    with Log("forget", folder / "log", quiet=True) as log:
        counts, places = forget(
            documents, [before], lists, out, Forget(**rules), Deduplicate(), log
        )
    texts = [text for batch in read_documents(out) for text in batch.column("text").to_pylist()]
    assert counts["documents"] == len(texts)
    assert sum(one["kept"] for one in counts["sources"].values()) == len(texts)
    return texts, counts, places, (folder / "log").read_text()


def test_the_named_go_by_either_hash_and_the_rest_stays_in_order(tmp_path):
    by_id = f"{int(document_id(TEXTS[9].encode())):016X}  # an id, as trace.py prints it"
    lines = ["# letters", "", sha256(TEXTS[3]), by_id]
    texts, counts, places, _ = run(tmp_path, {}, lines=lines)
    assert texts == [text for i, text in enumerate(TEXTS) if i not in (3, 9)]
    assert counts["sources"]["own"]["dropped"] == {"named": 2}
    assert [(one["why"], one["origin_row"]) for one in places] == [("named", 3), ("named", 9)]
    assert (counts["lines"], counts["lines_missing"]) == (2, 0)
    assert not any(text in repr(places) for text in TEXTS)


@pytest.mark.parametrize("near", [True, False])
def test_near_copies_go_with_the_named(tmp_path, near):
    with_copy = [*TEXTS, COPY]
    texts, counts, _, _ = run(
        tmp_path, {"near": near}, lines=[sha256(TEXTS[5])], kept=with_copy, sampled=with_copy
    )
    assert texts == [text for text in with_copy if text != TEXTS[5] and not (near and text == COPY)]
    dropped = counts["sources"]["own"]["dropped"]
    assert dropped == {"named": 1, **({"near copy of a named one": 1} if near else {})}


def test_a_near_copy_that_stayed_for_the_named_one_goes(tmp_path):
    """Deduplication dropped the named one, not its copy."""
    kept = [COPY if text == TEXTS[5] else text for text in TEXTS]
    texts, counts, _, _ = run(
        tmp_path, {}, lines=[sha256(TEXTS[5])], kept=kept, sampled=[*TEXTS, COPY]
    )
    assert texts == [text for text in kept if text != COPY]
    assert counts["lines_missing"] == 0


def test_rules_look_at_texts_and_origins(tmp_path):
    rules = {"text": r"Letter [12]\.", "origin": r"^own/letters-1"}
    texts, counts, _, _ = run(tmp_path, rules)
    assert texts == [text for i, text in enumerate(TEXTS) if i % 2 == 0 and i != 2]
    assert counts["sources"]["own"]["dropped"] == {"rule on text": 2, "rule on origin": 19}


def test_a_rule_that_finds_nothing_is_said(tmp_path):
    texts, _, _, said = run(tmp_path, {"text": "nobody wrote this"})
    assert texts == TEXTS
    assert "forget.text: found in no document" in said


def test_a_document_that_is_not_there_is_an_error_or_counted(tmp_path):
    lines = [sha256(TEXTS[0]), sha256("nowhere"), "0" * 16]
    with pytest.raises(UserError, match=r"2 of 3 lines name no document there is: .*list\.txt:2"):
        run(tmp_path, {}, lines=lines)
    assert not (tmp_path / "out.parquet").exists()

    texts, counts, _, said = run(tmp_path, {"missing": "warn"}, lines=lines)
    assert texts == TEXTS[1:]
    assert counts["lines_missing"] == 2
    assert "warning: forget.documents: 2 of 3 lines" in said


def test_forgetting_everything_is_an_error(tmp_path):
    with pytest.raises(UserError, match="all 40 documents are to be forgotten"):
        run(tmp_path, {"text": "Letter"})


BAD_LISTS = {
    "no hash": ("Anna Rossi\n", r"list\.txt:1: found 'Anna Rossi', expected"),
    "a hash too short": ("# x\n" + "a" * 63, r"list\.txt:2: found"),
    "a hash and more": ("a" * 64 + " b", r"list\.txt:1: found"),
    "nothing": ("# only a comment\n\n", r"no hash in there; expected"),
    "no text": (b"\xff\xfe\x00", "can't be read as lines of text"),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_a_list_that_is_none_is_refused(tmp_path, case):
    text, message = BAD_LISTS[case]
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError, match=message):
        read_hashes([path], "forget.documents")


def test_an_expression_that_is_none_is_refused_before_any_job():
    for bad in ("(", r"(?=x)", r"(a)\1"):
        with pytest.raises(UserError, match=r"forget\.text: .* is no expression of RE2"):
            check_forget(Forget(text=bad), lambda paths, key: [])
    check_forget(Forget(text=r"(?i)anna\s+rossi", origin="^own/"), lambda paths, key: [])
