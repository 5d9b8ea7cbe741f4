"""Decontamination: a planted copy is found wherever it stands, a near miss is not, and every count
adds up.
"""

import gzip
import json
import random
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.config import Decontaminate
from snakelm.data.documents import benchmark_ngrams as ngrams
from snakelm.data.documents import decontaminate as module
from snakelm.data.documents.benchmark_ngrams import benchmark_sets, ngram_indexes
from snakelm.data.documents.decontaminate import decontaminate
from snakelm.data.documents.table import SCHEMA, DocumentWriter, read_documents
from snakelm.data.reading.rows import Place, Record
from snakelm.data.split import document_id
from snakelm.errors import UserError
from snakelm.log import Log

WORDS = [f"word{i}" for i in range(5000)]
PLANTED = [f"planted{i}" for i in range(13)]


def salad(seed: int, count: int = 60) -> list[str]:
    return random.Random(seed).choices(WORDS, k=count)


def write(path, texts: list[str], source: str = "a"):
    rows = [
        {
            "text": t,
            "source": source,
            "id": int(document_id(t.encode())),
            "origin_file": "f",
            "origin_row": i,
        }
        for i, t in enumerate(texts)
    ]
    with DocumentWriter(path) as writer:
        writer.append(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return path


def evaluation(tmp_path, texts: list[str], name: str = "set.jsonl"):
    file = tmp_path / name
    file.write_text("".join(json.dumps({"question": text}) + "\n" for text in texts))
    return file


def run(tmp_path, texts: list[str], files, **rules):
    with Log("test", quiet=True) as log:
        found = decontaminate(
            write(tmp_path / "in.parquet", texts),
            tmp_path / "out.parquet",
            files,
            Decontaminate(**rules),
            1,
            log,
        )
    kept = [
        row["origin_row"]
        for batch in read_documents(tmp_path / "out.parquet")
        for row in batch.to_pylist()
    ]
    return kept, *found


def test_a_planted_copy_is_found_at_every_position(tmp_path):
    base = salad(0)
    texts = [" ".join([*base[:i], *PLANTED, *base[i:]]) for i in range(61)]
    kept, counts, _ = run(
        tmp_path, ["clean " + " ".join(base), *texts], [evaluation(tmp_path, [" ".join(PLANTED)])]
    )
    assert kept == [0]
    assert counts["sources"]["a"]["dropped"] == {"evaluation text": 61}


def test_every_part_of_a_long_evaluation_text_is_looked_for(tmp_path):
    long = salad(1, 200)
    texts = [" ".join([*salad(9, 20), *long[i : i + 13], *salad(8, 20)]) for i in range(188)]
    kept, _, _ = run(tmp_path, ["clean text", *texts], [evaluation(tmp_path, [" ".join(long)])])
    assert kept == [0]


@pytest.mark.parametrize("changed", range(13))
def test_a_near_miss_is_not_found(tmp_path, changed):
    missed = [word if i != changed else "other" for i, word in enumerate(PLANTED)]
    text = " ".join([*salad(0), *missed, *salad(1)])
    assert run(tmp_path, [text], [evaluation(tmp_path, [" ".join(PLANTED)])])[0] == [0]


def test_words_in_another_order_are_not_found(tmp_path):
    assert run(tmp_path, [" ".join(PLANTED[::-1])], [evaluation(tmp_path, [" ".join(PLANTED)])])[
        0
    ] == [0]


def test_case_and_punctuation_hide_nothing(tmp_path):
    hidden = "so: " + ", ".join(PLANTED).upper() + "!"
    kept, _, examples = run(
        tmp_path, ["clean", hidden], [evaluation(tmp_path, [" ".join(PLANTED)])]
    )
    assert kept == [0]
    (shown,) = next(iter(examples.values()))
    assert shown["found"] == " ".join(PLANTED)
    assert shown["text"] == hidden


SENTENCE = "the café didn't serve naïve cooperative guests at five o'clock on a rainy Sunday"
TYPESET = {
    "spaces": SENTENCE.replace(" ", "\u00a0"),
    "apostrophes": SENTENCE.replace("'", "’"),
    "soft hyphens": SENTENCE.replace("oo", "o\u00ado"),
    "invisible": "\u200b".join(SENTENCE),
    "decomposed": unicodedata.normalize("NFD", SENTENCE),
    "capitals": SENTENCE.upper(),
    "full width": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in SENTENCE),
}


@pytest.mark.parametrize("hidden", TYPESET.values(), ids=TYPESET)
@pytest.mark.parametrize("side", ["document", "evaluation text"])
def test_how_a_text_is_set_hides_nothing(tmp_path, hidden, side):
    document, question = (hidden, SENTENCE) if side == "document" else (SENTENCE, hidden)
    kept, _, examples = run(tmp_path, ["clean", document], [evaluation(tmp_path, [question])])
    assert kept == [0]
    (shown,) = next(iter(examples.values()))
    assert shown["found"].startswith("the café didn t serve naïve cooperative")
    assert shown["text"] == document


@pytest.mark.parametrize(
    ("words", "found"), [(7, False), (8, True), (12, True)], ids=lambda x: str(x)
)
def test_a_short_evaluation_text_is_searched_for_in_full(tmp_path, words, found):
    short = " ".join(PLANTED[:words])
    inside, alone, near = (
        " ".join([*salad(0), short, *salad(1)]),
        short,
        " ".join([*salad(0), *PLANTED[: words - 1]]),
    )
    kept, counts, _ = run(
        tmp_path, [inside, alone, near], [evaluation(tmp_path, [short, short + " more" * 20])]
    )
    assert kept == ([2] if found else [0, 1, 2])
    (facts,) = counts["evaluation"].values()
    assert (facts["short"], facts["too_short"], facts["texts"]) == (int(found), int(not found), 2)


@pytest.mark.parametrize(
    ("share", "kept"), [(0.0, [0]), (0.05, [0, 1]), (0.5, [0, 1]), (1.0, [0, 1, 2])]
)
def test_the_share_decides(tmp_path, share, kept):
    """Of 61 n-grams one is found in the second text; of the third, all."""
    texts = [" ".join(salad(0)), " ".join([*salad(1), *PLANTED]), " ".join(PLANTED)]
    assert run(tmp_path, texts, [evaluation(tmp_path, [" ".join(PLANTED)])], share=share)[0] == kept


def test_counts_are_per_evaluation_file_and_source(tmp_path):
    other = [f"other{i}" for i in range(20)]
    files = [
        evaluation(tmp_path, [" ".join(PLANTED)], "one.jsonl"),
        evaluation(tmp_path, [" ".join(other), " ".join(PLANTED), "tiny"], "two.jsonl"),
        evaluation(tmp_path, [" ".join(salad(77))], "three.jsonl"),
    ]
    texts = [" ".join(PLANTED), " ".join(other), "clean", " ".join([*other, *PLANTED])]
    kept, counts, examples = run(tmp_path, texts, files)
    assert kept == [2]
    facts = [counts["evaluation"][f.as_posix()] for f in files]
    assert [f["documents_dropped"] for f in facts] == [2, 3, 0]
    assert [f["ngrams"] for f in facts] == [1, 9, 48]
    assert sorted(examples) == sorted(f.as_posix() for f in files[:2])
    assert counts["sources"]["a"] == {
        "read": 4, "kept": 1, "kept_bytes": 5, "dropped": {"evaluation text": 3}
    }  # fmt: skip


def test_slices_change_nothing(tmp_path, monkeypatch):
    texts = [
        " ".join([*salad(i), *(PLANTED if i % 3 == 0 else []), *salad(-i)]) for i in range(1, 100)
    ]
    files = [evaluation(tmp_path, [" ".join(PLANTED)])]
    complete = run(tmp_path, texts, files)
    monkeypatch.setattr(module, "SLICE_BYTES", 1500)
    assert run(tmp_path, texts, files) == complete
    assert len(complete[0]) == 66


NO_COLUMN = "none of the columns text, question, prompt; columns are body"
QUESTION = "what is the airspeed velocity of an unladen swallow over the sea at night"


def as_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("name", "make", "columns"),
    [
        ("a.parquet", lambda p: as_parquet(p, id=[1], question=[QUESTION]), ["text", "question"]),
        ("a.parquet", lambda p: as_parquet(p, item=[{"stem": QUESTION, "n": 1}]), ["item.stem"]),
        (
            "a.parquet",
            lambda p: as_parquet(p, turns=[[{"said": QUESTION}, {"said": None}]]),
            ["turns.said"],
        ),
        (
            "a.parquet",
            lambda p: as_parquet(p, choices=[["no", QUESTION]], question=[None]),
            ["choices", "question"],
        ),
        (
            "a.jsonl",
            lambda p: p.write_text(json.dumps({"question": {"stem": QUESTION}}) + "\n\n"),
            ["question.stem"],
        ),
        (
            "a.jsonl.gz",
            lambda p: p.write_bytes(gzip.compress(json.dumps({"text": QUESTION}).encode())),
            ["text"],
        ),
        ("a.txt", lambda p: p.write_text(QUESTION), ["text"]),
    ],
    ids=["column", "struct", "list of structs", "list", "json object", "gzip", "text"],
)
def test_evaluation_files_of_many_kinds(tmp_path, name, make, columns):
    file = tmp_path / name
    make(file)
    (one,) = benchmark_sets([file], Decontaminate(text=columns))
    assert one.hashes[13].size == len(QUESTION.split()) - 12
    assert one.texts in (1, 2)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.parquet", lambda p: as_parquet(p, body=["x"]), NO_COLUMN),
        ("a.parquet", lambda p: as_parquet(p, question=[7]), "question holds a int, expected text"),
        (
            "a.parquet",
            lambda p: as_parquet(p, text=pa.array([None], pa.string())),
            "no text in text, question, prompt",
        ),
        ("a.parquet", lambda p: p.write_bytes(b"PAR1 no"), "damaged, or not a parquet file"),
        ("a.jsonl", lambda p: p.write_text('{"body": "x"}\n'), NO_COLUMN),
        (
            "a.jsonl",
            lambda p: p.write_text('{"text": "x"}\n{"te'),
            "line 2: not JSON.*; an evaluation set must be complete",
        ),
        (
            "a.jsonl",
            lambda p: p.write_text('["x"]\n'),
            "a JSON array, expected one JSON object a line",
        ),
        ("a.jsonl", lambda p: p.write_text(""), "no text in"),
        ("a.xlsx", lambda p: p.write_text("text\nx\n"), "a table that isn't read"),
        (
            "a.txt.gz",
            lambda p: p.write_bytes(gzip.compress(b"x" * 99)[:20]),
            "broken off or damaged",
        ),
    ],
    ids=[
        "no column",
        "numbers",
        "nulls",
        "no parquet",
        "no field",
        "cut off",
        "list",
        "empty",
        "unknown",
        "bad gzip",
    ],
)
def test_an_evaluation_file_that_says_nothing_is_a_user_error(tmp_path, name, make, said):
    file = tmp_path / name
    make(file)
    with pytest.raises(UserError, match=said) as error:
        benchmark_sets([file], Decontaminate())
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_value_nested_without_end_is_a_user_error(tmp_path, monkeypatch):
    value = QUESTION
    for _ in range(5000):
        value = [value]
    monkeypatch.setattr(ngrams, "records", lambda *_: [Record(Place(0, 1), {"text": value})])
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(UserError, match=r"a\.jsonl: line 1: text is nested too deeply"):
        benchmark_sets([tmp_path / "a.jsonl"], Decontaminate())


def test_nothing_left_is_a_user_error_and_leaves_no_file(tmp_path):
    with pytest.raises(UserError, match="every document holds text of an evaluation set"):
        run(tmp_path, [" ".join(PLANTED)], [evaluation(tmp_path, [" ".join(PLANTED)])])
    assert not (tmp_path / "out.parquet").exists()


def test_an_index_matches_by_hash_alone(tmp_path):
    files = [
        evaluation(tmp_path, [" ".join(salad(i, 300)) for i in range(20)], f"{n}.jsonl")
        for n in "ab"
    ]
    (one,) = ngram_indexes(benchmark_sets(files, Decontaminate()))
    assert one.places(one.hashes).tolist() == list(range(one.hashes.size))
    assert one.places(one.hashes + 1).size == 0
    assert one.sets_of(one.hashes[0]) == [0, 1]
