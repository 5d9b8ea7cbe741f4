"""What is measured of a tokenizer, against counts by hand; its figures and its page stand for every
corpus.
"""

import xml.etree.ElementTree as ET

import numpy as np
import pyarrow as pa
import pytest

from snakelm.analysis.figures.tokens import fertility, token_frequencies
from snakelm.analysis.tables.tokens import write_tokenizer
from snakelm.data.bins import BinWriter, Meta
from snakelm.data.documents.table import SCHEMA, DocumentWriter
from snakelm.data.split import document_id
from snakelm.evaluation.records import read_tokenizer_statistics
from snakelm.evaluation.tokenizer_statistics import measure
from snakelm.files import write_json
from snakelm.tokenizer import train_bpe

PLAIN = [f"{i} herons stood near the old mill, {i * i} stones away" for i in range(60)]
ODD = ["<script>alert(1)</script>", "مرحبا بالعالم", "🦦 ≠ 🐍", "a\x01\u202eb", "x" * 50_000]


@pytest.fixture
def run(tmp_path):
    """`run({"source": texts})`: a documents file, a tokenizer and bins of these texts; gives what
    `measure` takes.
    """

    def make(sources):
        texts = [text for some in sources.values() for text in some]
        tokenizer = train_bpe([*texts, *PLAIN], 300)
        tokenizer.save(tmp_path / "tokenizer")
        with DocumentWriter(tmp_path / "documents.parquet") as writer:
            rows = [
                (t, name, int(document_id(t.encode())), "f", i)
                for name, some in sources.items()
                for i, t in enumerate(some)
            ]
            writer.append(
                pa.record_batch([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)
            )
        for name, some in (("train", texts[1:]), ("val", texts[:1])):
            ids = [np.array([tokenizer.eot, *tokenizer.encode_ordinary(text)]) for text in some]
            size = sum(len(text.encode()) for text in some)
            meta = Meta("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256)
            with BinWriter(tmp_path / f"{name}.bin", meta) as writer:
                writer.append(
                    np.concatenate(ids), np.array([i.size for i in ids]), np.arange(len(ids)), size
                )
        return tokenizer, measure(
            tmp_path / "documents.parquet", tmp_path / "tokenizer", tmp_path, seed=7
        )

    return make


def test_rates_and_counts_are_those_counted_by_hand(run):
    tokenizer, table = run({"mill": PLAIN, "few": ["one two"]})
    mill, few = table.sources
    assert [mill.name, few.name] == ["mill", "few"], "the largest first"
    assert mill.documents == 60
    assert mill.words == sum(len(text.split()) for text in PLAIN)
    assert mill.bytes == sum(len(text.encode()) for text in PLAIN)
    assert mill.tokens == sum(len(tokenizer.encode_ordinary(text)) for text in PLAIN)
    counts = np.bincount(
        [i for t in [*PLAIN[1:], "one two"] for i in tokenizer.encode_ordinary(t)], minlength=300
    )
    text_ids = np.flatnonzero(tokenizer.token_lengths)
    assert table.never == int((counts[text_ids] == 0).sum())
    assert table.rare == int((counts[text_ids] < 100).sum())
    assert table.most[0] == (tokenizer.decode([int(counts.argmax())]), int(counts.max()))
    assert table.curve.count[0] == counts.max()
    assert table.bins[0].tokens == counts.sum(), "no end-of-text tokens"


def test_an_example_is_the_text_itself(run):
    tokenizer, table = run({"mill": PLAIN})
    (example,) = table.examples
    assert "".join(example.pieces) in PLAIN
    assert len(example.pieces) == len(tokenizer.encode_ordinary("".join(example.pieces)))


@pytest.mark.parametrize("texts", [PLAIN, ODD, ["a", "b"]], ids=["plain", "odd", "two letters"])
def test_figures_and_page_stand_for_every_corpus(texts, run, tmp_path):
    _, table = run({"<b>$x$</b>": texts})
    write_json(tmp_path / "tokens.json", table.as_json())
    assert read_tokenizer_statistics(tmp_path / "tokens.json") == table
    fertility(table, tmp_path / "a.svg")
    token_frequencies(table, tmp_path / "b.svg")
    write_tokenizer(table, tmp_path / "t.html")
    for name in ("a.svg", "b.svg"):
        assert ET.parse(tmp_path / name).getroot().tag.endswith("}svg")
    page = (tmp_path / "t.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>$x$" not in page
    assert not set("\x01\u202e") & set(page)
    assert len(page) < 100_000


def test_the_same_documents_are_measured_each_time(run, monkeypatch, tmp_path):
    monkeypatch.setattr("snakelm.evaluation.tokenizer_statistics.DOCUMENTS", 10)
    _, table = run({"mill": PLAIN})
    again = measure(tmp_path / "documents.parquet", tmp_path / "tokenizer", tmp_path, seed=7)
    assert table == again
    assert table.sources[0].documents in (9, 10)
