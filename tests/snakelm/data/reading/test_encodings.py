"""Which encoding a text is in that isn't UTF-8, and when its NULs mean that it is none."""

import numpy as np
import pytest

from snakelm.data.reading.encodings import not_utf8, nul_problem, nul_problem_in, wide_encoding

TEXTS = {
    "English": "Page 3 of the river that turned the mill",
    "Russian": "Страница 3 о реке, что вертит мельницу",
    "Greek": "Σελίδα τρία του ποταμού",
    "Hebrew": "עמוד שלוש של הנהר",
    "Arabic": "صفحة ثلاثة من النهر الذي",
    "Hindi": "नदी का पृष्ठ तीन जो चक्की को घुमाता है",
    "Thai": "หน้า 3 ของแม่น้ำ ที่หมุน\nโรงสี",
}
WIDE = ("UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE")


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("encoding", WIDE)
def test_wide_characters_are_known_by_their_nuls(language, encoding):
    data = TEXTS[language].encode(encoding)
    assert wide_encoding(data) == encoding
    assert wide_encoding(memoryview(data * 5000)) == encoding
    assert wide_encoding(TEXTS[language].encode() * 5000 + data * 5000) in WIDE


@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE"])
@pytest.mark.parametrize("text", ["第三页 讲的是 推动磨坊\n", "물레방아를 돌리는 강의 3 페이지"])
def test_wide_characters_of_scripts_with_many_letters_are_no_utf8(text, encoding):
    assert encoding in not_utf8((text * 3).encode(encoding)).detail


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"a\0b", b"one\0two\0three", b"x" * 1000 + b"\0", b"a\nb\nc\nd\n", b"\0\0ab"],
    ids=repr,
)
def test_text_with_some_nuls_is_text(data):
    assert nul_problem(data + b" and so on, as text does") is None
    assert wide_encoding(data) is None


def test_random_text_with_a_few_nuls_is_never_taken_for_wide_characters():
    letters = np.frombuffer(b"the river turned \n\t", np.uint8)
    random = np.random.default_rng(0)
    for _ in range(300):
        data = random.choice(letters, random.integers(20, 2000))
        data[random.integers(0, data.size, max(1, data.size // 50))] = 0
        assert nul_problem(data.tobytes()) is None


def test_zeros_where_text_was_lost_are_no_text():
    assert nul_problem(b"river" + bytes(4000)).why == "mostly NULs"


def test_texts_are_found_however_deep():
    wide = "river".encode("utf-16-le").decode()
    row = {"messages": [{"content": wide}], "other": "a\0b"}
    assert nul_problem_in(row, ["messages"]).why == "UTF-16 or UTF-32, not UTF-8"
    assert nul_problem_in(row, ["other", "missing"]) is None


LIKELY = {
    "Latin-1": ("Le café crème à la mode\n".encode("latin-1"), "likely WINDOWS-1252"),
    "Cyrillic": ("Привет, мир".encode("cp1251"), "WINDOWS-1251"),
    "Shift-JIS": ("日本語の文章".encode("shift-jis"), "SHIFT-JIS"),
    "cut off": ("cinq à – ".encode()[:-2], "cut off in the middle of a character"),
    "no text": (bytes(range(256)) * 4, "no text"),
}


@pytest.mark.parametrize("name", LIKELY)
def test_an_8_bit_encoding_is_guessed_by_name(name):
    data, said = LIKELY[name]
    problem = not_utf8(b"one\ntwo " + data)
    assert problem.why == "not UTF-8"
    assert said in problem.detail
    assert problem.line_ends == 1 or name == "no text"
