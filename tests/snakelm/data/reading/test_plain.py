"""What of a text file is a document: nothing is lost or doubled, wherever it is cut."""

import random

import pytest

from snakelm.data.reading.plain import BLOCK, plain_glance, plain_texts
from snakelm.data.reading.readers import Reader
from snakelm.data.reading.rows import Reading
from snakelm.parquet import BadFile

WORDS = [
    "king",
    "queen",
    "lord",
    "castle",
    "speak",
    "of",
    "war",
    "or",
    "love",
    "with",
    "my",
    "sweet",
    "brother",
]


def sentences(count, seed=0):
    chosen = random.Random(seed).choices(WORDS, k=14 * count)
    return [" ".join(chosen[14 * i : 14 * i + 14]) + "." for i in range(count)]


SPEECHES = [f"ANNA:\n{sentence}" for sentence in sentences(5000)]
PLAY = "\n\n".join(SPEECHES).encode()  # 0.4 MB


def documents(path, data=None, **reading):
    """[(line, text)] of a file"""
    if data is not None:
        path.write_bytes(data)
    batches = plain_texts(path, Reading(**{"split": "auto", "alone": True, **reading}))
    return [
        (line, text)
        for batch in batches
        for line, text in zip(batch.lines, batch.texts.to_pylist(), strict=True)
    ]


def squeezed(texts):
    """The letters, in order."""
    return b"".join(b"".join(text.split()) for text in texts)


SHAPES = {
    "blank lines": PLAY,
    "CR LF": PLAY.replace(b"\n", b"\r\n"),
    "CR": PLAY.replace(b"\n", b"\r"),
    "no blank line": PLAY.replace(b"\n\n", b"\n"),
    "one line": PLAY.replace(b"\n", b" "),
    "one word": b"x" * 300_000,
    "no space, several bytes a character": "河流推动磨坊".encode() * 20_000,
    "many tiny paragraphs": b"\n\n".join(b"p%d" % i for i in range(50_000)),
    "several blocks": PLAY * (3 * BLOCK // len(PLAY)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_one_file_becomes_pieces_whatever_its_shape(tmp_path, name):
    found = documents(tmp_path / "a.txt", SHAPES[name])
    texts = [text for _, text in found]
    assert len(texts) > 50
    assert squeezed(texts) == squeezed([SHAPES[name]])
    assert all(2 * 2048 + 2 >= len(text) >= 1024 for text in texts[:-1]) or name == "several blocks"
    assert all(text.decode() == text.decode().strip("\r\n") for text in texts)


def test_pieces_end_at_blank_lines_where_there_are_any(tmp_path):
    texts = [text.decode() for _, text in documents(tmp_path / "a.txt", PLAY)]
    assert "\n\n".join(texts) == PLAY.decode()
    assert all(text.startswith("ANNA:\n") for text in texts)


def test_a_small_file_has_smaller_pieces_and_a_large_one_larger(tmp_path):
    small, large = PLAY[:5000], PLAY * 40
    assert len(documents(tmp_path / "a.txt", small)) >= 5
    mean = len(large) / len(documents(tmp_path / "a.txt", large))
    assert 10_000 < mean < 30_000
    pieces = documents(tmp_path / "a.txt", PLAY, piece_bytes=500)
    assert 500 < len(PLAY) / len(pieces) < 700


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CR LF", "CR"])
@pytest.mark.parametrize("gap", ["", " \t", "\f"], ids=["empty", "spaces", "form feed"])
def test_blank_lines_part_paragraphs(tmp_path, end, gap):
    text = f"{end}{gap}{end}{gap}{end}".join(SPEECHES).replace("\n", end)
    found = documents(tmp_path / "a.txt", text.encode(), split="blank_lines")
    assert [text.decode() for _, text in found] == [s.replace("\n", end) for s in SPEECHES]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CR LF", "CR"])
def test_each_line_is_a_document_and_blank_ones_are_none(tmp_path, end):
    lines = [*sentences(20_000), "a\u2028b\u0085c\x0bd\x0ce"]
    text = f"{end}{end} {end}".join(lines) + end
    found = documents(tmp_path / "a.txt", text.encode(), split="lines")
    assert [text.decode() for _, text in found] == lines
    assert [line for line, _ in found] == list(range(1, 3 * len(lines), 3))


def test_stories_part_at_endoftext_by_themselves(tmp_path):
    data = b"\n<|endoftext|>\n".join(speech.encode() for speech in SPEECHES)
    for alone in (True, False):
        found = documents(tmp_path / "a.txt", data, alone=alone)
        assert [text.decode() for _, text in found] == SPEECHES
    inline = data.replace(b"\n<|endoftext|>\n", b"<|endoftext|>")
    found = documents(tmp_path / "a.txt", inline, split="endoftext")
    assert [text.decode() for _, text in found] == SPEECHES


def test_endoftext_within_a_sentence_is_text(tmp_path):
    data = b"GPT-2 writes <|endoftext|> between documents.\n"
    assert documents(tmp_path / "a.txt", data, alone=False) == [(1, data)]


def test_a_file_of_several_is_one_document(tmp_path):
    assert documents(tmp_path / "a.txt", PLAY, alone=False) == [(1, PLAY)]
    assert documents(tmp_path / "a.txt", PLAY, split="file") == [(1, PLAY)]


@pytest.mark.parametrize("split", ["auto", "blank_lines", "lines", "endoftext"])
def test_a_document_is_in_the_line_that_is_named(tmp_path, split):
    data = b"\n\n \n" + PLAY.replace(b"\n\n", b"\n\n\n<|endoftext|>\n\n")
    lines = data.split(b"\n")
    for line, text in documents(tmp_path / "a.txt", data, split=split)[:500]:
        assert lines[line - 1] == text.split(b"\n")[0]


@pytest.mark.parametrize("split", ["blank_lines", "lines", "endoftext", "file"])
def test_a_document_too_large_is_left_out_and_the_next_ones_are_not(tmp_path, split):
    long = b"b" * (3 * BLOCK)
    data = b"a\n\n<|endoftext|>\n\n" + long + b"\n\n<|endoftext|>\n\nc\n"
    found = documents(tmp_path / "a.txt", data, split=split, largest=BLOCK)
    texts = [text for _, text in found if text != b"<|endoftext|>"]
    assert texts == ([None] if split == "file" else [b"a", None, b"c"])


def test_a_bound_of_a_few_bytes_holds_too(tmp_path):
    data = b"a\n" + b"b" * 100 + b"\nc\n"
    found = documents(tmp_path / "a.txt", data, split="lines", largest=50)
    assert found == [(1, b"a"), (2, None), (3, b"c")]


@pytest.mark.parametrize("data", [b"", b"\n\n \r\n\f"], ids=["empty", "white space"])
def test_nothing_is_no_document(tmp_path, data):
    assert documents(tmp_path / "a.txt", data) == []
    assert plain_glance(tmp_path / "a.txt", Reading(split="auto", alone=True)).rows == 0


@pytest.mark.parametrize("split", ["auto", "blank_lines", "lines", "file"])
def test_a_glance_counts_what_reading_gives(tmp_path, split):
    reading = Reading(split=split, alone=True)
    exact = len(documents(tmp_path / "a.txt", PLAY, split=split))
    assert plain_glance(tmp_path / "a.txt", reading).rows == exact

    many = len(documents(tmp_path / "a.txt", (PLAY + b"\n\n") * 30, split=split))
    glance = plain_glance(tmp_path / "a.txt", reading)
    if split == "file":
        assert glance.rows == 1
    else:
        assert glance.rows is None
        assert abs(glance.documents - many) < 0.02 * many


def test_a_glance_at_another_encoding_names_the_line_and_the_remedy(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\ntwo\ncafé\n".encode("latin-1"))
    with pytest.raises(BadFile, match=r"line 3: not UTF-8 .*likely WINDOWS-1252 .*iconv"):
        plain_glance(tmp_path / "a.txt", Reading())


def test_rows_are_numbered_through_and_the_same_when_read_again(tmp_path):
    (tmp_path / "a.txt").write_bytes(PLAY)
    reader = Reader([tmp_path / "a.txt"], reading=Reading(split="auto", alone=True))
    first, again = ([row for batch in reader.batches() for row in batch.to_pylist()] for _ in "ab")
    assert first == again
    assert [row["origin_row"] for row in first] == list(range(len(first)))
