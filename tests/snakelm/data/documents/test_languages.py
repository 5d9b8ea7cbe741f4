"""Languages: told right or not at all; dropped by a counted reason; stop words of each language;
the same bytes each time.
"""

import json

import pyarrow as pa
import pytest

from snakelm.config import Languages, Quality
from snakelm.data.documents import identification
from snakelm.data.documents.languages import languages
from snakelm.data.documents.quality import quality
from snakelm.data.documents.quality_rules import judge
from snakelm.data.documents.table import SCHEMA, DocumentWriter, languages_of, read_documents
from snakelm.data.split import document_id
from snakelm.errors import UserError
from snakelm.log import Log

pytest.importorskip("py3langid", reason="requirements-checks.txt is not installed")

# Written for this test, checked by eye.
TEXTS = {
    "en": "The harbour was quiet that morning, and the fishermen had not yet come back with nets.",
    "it": "Il porto era tranquillo quella mattina, e i pescatori non erano ancora tornati a casa.",
    "ru": "В то утро в гавани было тихо, и рыбаки ещё не вернулись с моря со своими сетями домой.",
    "de": "Der Hafen war an jenem Morgen ruhig, und die Fischer waren noch nicht zurückgekehrt.",
    "fr": "Le port était calme ce matin-là, et les pêcheurs n'étaient pas encore rentrés chez eux.",
    "es": "El puerto estaba tranquilo aquella mañana, y los pescadores aún no habían vuelto.",
    "uk": "Того ранку в гавані було тихо, і рибалки ще не повернулися з моря зі своїми сітками.",
    "pl": "Tego ranka w porcie było cicho, a rybacy jeszcze nie wrócili do domu ze swoimi.",
    "el": "Το λιμάνι ήταν ήσυχο εκείνο το πρωί και οι ψαράδες δεν είχαν γυρίσει ακόμα στο σπίτι.",
    "zh": "那天早上港口很安静，渔民们还没有带着渔网回来，只有几只海鸥在码头上走来走去。",
    "ja": "その朝、港は静かで、漁師たちはまだ網を持って帰ってきていなかった。",
}
UNKNOWN = {
    "two words": "too few letters",
    "": "too few letters",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20": "too few letters",
    "x[0] = (a_1 + b_2) * 3; y[1] = (c_3 - d_4) / 5; z[2] = {e_5: 6, f_6: [7, 8, 9]}; " * 4: (
        "code or numbers"
    ),
    TEXTS["en"] * 8 + TEXTS["it"] * 8: "mixed",
    TEXTS["ru"] * 5 + TEXTS["de"] * 5: "mixed",
}


@pytest.fixture(scope="module")
def identifier():
    return identification.Identifier(Languages(keep="all"))


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("times", [1, 3, 40], ids=["line", "paragraph", "page"])
def test_a_language_is_told(identifier, language, times):
    verdict = identifier.tell("\n".join([TEXTS[language]] * times))
    assert verdict.language == language
    assert verdict.confidence >= 0.6
    assert verdict.reason is None


@pytest.mark.parametrize("text", UNKNOWN, ids=lambda text: text[:20])
def test_what_nobody_can_tell_has_a_reason(identifier, text):
    verdict = identifier.tell(text)
    assert (verdict.language, verdict.reason) == ("und", UNKNOWN[text])


def test_the_bounds_decide():
    text = TEXTS["en"] * 8 + TEXTS["it"] * 8
    assert identification.Identifier(Languages(keep="all", least_confidence=0.3)).tell(
        text
    ).language in {"en", "it"}
    few = identification.Identifier(Languages(keep="all", least_letters=100)).tell(TEXTS["en"])
    assert few.reason == "too few letters"


def test_a_long_text_is_read_at_four_places():
    places = identification._places("".join(chr(0x100 + i % 500) for i in range(10_000)))
    assert [len(place) for place in places] == [400] * 4
    for size in (0, 1, 399, 400, 801, 1599, 1600):
        text = "".join(chr(0x100 + i) for i in range(size))
        assert "".join(identification._places(text)) == text


@pytest.mark.parametrize(("keep", "said"), [([], "no language"), (["en", "english"], "'english'")])
def test_languages_that_it_does_not_know_are_a_users_mistake(keep, said):
    with pytest.raises(UserError, match=r"languages\.keep: found " + said):
        identification.Identifier(Languages(keep=keep))


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -r requirements-checks\.txt"):
        identification.Identifier(Languages(keep="all"))


def write(path, texts: list[str]):
    rows = [
        {"text": text, "source": "ab"[i % 2], "id": int(document_id(text.encode())),
         "origin_file": "f", "origin_row": i}
        for i, text in enumerate(texts)
    ]  # fmt: skip
    with DocumentWriter(path) as writer:
        writer.append(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return path


def run(tmp_path, texts: list[str], **rules):
    given, output = write(tmp_path / "in.parquet", texts), tmp_path / "out.parquet"
    with Log("test", quiet=True) as log:
        found = languages(given, output, Languages(**rules), 1, log)
    return [row for batch in read_documents(output) for row in batch.to_pylist()], *found


ALL = [TEXTS["en"], TEXTS["it"], TEXTS["de"], "two words", TEXTS["en"] + " Again.", TEXTS["fr"]]


def test_everything_stays_with_its_language(tmp_path):
    rows, counts, examples = run(tmp_path, ALL, keep="all")
    assert [row["language"] for row in rows] == ["en", "it", "de", "und", "en", "fr"]
    assert [row["text"] for row in rows] == ALL
    assert examples == {}
    assert counts["sources"]["b"] | {"kept_bytes": 0} == {
        "read": 3, "kept": 3, "kept_bytes": 0, "dropped": {}, "unknown": {"too few letters": 1}
    }  # fmt: skip
    assert list(counts["languages"]) == ["en", "de", "fr", "it", "und"]
    size = len((TEXTS["en"] * 2 + " Again.").encode())
    assert counts["languages"]["en"] == {"a": {"documents": 2, "bytes": size, "kept": 2}}


def test_other_languages_go_and_are_counted(tmp_path):
    rows, counts, examples = run(tmp_path, ALL, keep=["en", "it"])
    assert [row["language"] for row in rows] == ["en", "it", "en"]
    assert counts["sources"]["a"]["dropped"] == {"other languages": 1}
    assert counts["sources"]["b"]["dropped"] == {"too few letters": 1, "other languages": 1}
    assert counts["documents"] == 3
    assert counts["text_bytes"] == sum(len(row["text"].encode()) for row in rows)
    assert {one["language"] for one in examples["other languages"]} == {"de", "fr"}

    rows, counts, _ = run(tmp_path, ALL, keep=["en"], unknown="keep")
    assert [row["language"] for row in rows] == ["en", "und", "en"]
    assert counts["sources"]["b"]["unknown"] == {"too few letters": 1}


def test_nothing_left_says_what_was_found(tmp_path):
    with pytest.raises(UserError, match=r"no document of 6 .* found en 2, de 1, fr 1, it 1, und 1"):
        run(tmp_path, ALL, keep=["uk"])
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_the_same_documents_give_the_same_bytes(tmp_path):
    results = []
    for _ in range(2):
        _, counts, examples = run(tmp_path, ALL * 3, keep=["en", "de"])
        results.append(((tmp_path / "out.parquet").read_bytes(), json.dumps([counts, examples])))
    assert results[0] == results[1]


def test_later_checks_keep_the_column_and_take_stop_words_by_it(tmp_path):
    texts = [*ALL, "Ready steady go ready steady go ready steady go"]
    run(tmp_path, texts, keep="all")
    rules = Quality(min_stop_words=2, terminal_punctuation=True)
    with Log("test", quiet=True) as log:
        quality(tmp_path / "out.parquet", tmp_path / "good.parquet", rules, 1, log)
    (batch,) = read_documents(tmp_path / "good.parquet")
    assert languages_of(batch) == ["en", "it", "de", "en", "fr"]
    assert batch.column("text").to_pylist()[0] == TEXTS["en"]


@pytest.mark.parametrize(
    ("text", "language", "passes"),
    [
        ("the cat and dog", None, True),
        ("il gatto e il cane", None, False),
        ("il gatto non è", "it", True),
        ("gatto cane", "it", False),
        ("Это и не то", "ru", True),
        ("кошка собака", "ru", False),
        ("gato perro", "es", True),
        ("two words", "und", True),
    ],
)
def test_stop_words_are_those_of_the_language(text, language, passes):
    assert (judge(text, {"min_stop_words": 2}, language) is None) == passes


def test_norwegian_is_not_false():
    """YAML 1.1 reads `[en, no]` as ["en", False]."""
    assert Languages(keep=["en", False]).keep == ["en", "no"]
