"""Personal data: found among things that look like it, masked by words, counted by kind and source,
written nowhere.
"""

import json

import pyarrow as pa
import pytest

from snakelm.config import PersonalData
from snakelm.data.documents.personal_data import check_personal_data, personal_data
from snakelm.data.documents.personal_numbers import is_card, is_iban
from snakelm.data.documents.personal_rules import RULES, find
from snakelm.data.documents.table import SCHEMA, DocumentWriter, read_documents
from snakelm.data.split import document_id
from snakelm.errors import UserError
from snakelm.log import Log

pytest.importorskip("phonenumbers", reason="requirements-checks.txt is not installed")

REGIONS = ["US", "IT", "DE"]

# What stands between ‹ and › is to be found, and nothing else. Names and numbers are made up, the
# latter so that their check digits fit.
FOUND = {
    "email": [
        "Write to ‹anna.rossi@posta.it›, or to ‹bob+lists@mail.uni-x.edu›.",
        "Author: Åsa <‹asa@lysator.se›>; Cc: ‹o'neil_77@sub.host-9.co.uk›",
        "mailto:‹info@firma.de›?subject=x and (‹A.B@C-D.ORG›)",
        "почта ‹ivan@pochta.ru›。‹li@mail.cn›，",
    ],
    "phone": [
        "Call ‹+39 06 6982 1234› or ‹+1 (212) 736-5000›.",
        "‹+442079460018›; ‹+49 30 901820›, ‹+7 495 739-70-00›",
        "Tel.: ‹06 6982 1234› fax: ‹(212) 736-5000› Telefon ‹030/901820›",
    ],
    "ip": [
        "from host 8.8.8.8? no: the host ‹8.8.8.8› answered, so did ‹93.184.216.34›:80",
        "Accepted for root from ‹185.220.101.47› port 22; ‹2a00:1450:4001:82b::200e› too",
        "http://‹142.250.180.14›/x, ‹142.250.180.14›/24.",
    ],
    "card": [
        "Visa ‹4539 1488 0343 6467› and ‹4539148803436467›.",
        "‹5425-2334-3010-9903›, Amex ‹3782 822463 10005›",
    ],
    "iban": [
        "IBAN: ‹IT60 X054 2811 1010 0000 0123 456› BANK",
        "pay ‹DE89370400440532013000›, ‹GB82 WEST 1234 5698 7654 32›.",
    ],
}
FOUND["ip"][0] = "The host ‹8.8.8.8› answered, so did ‹93.184.216.34›:80"

HARD = {
    "email": [
        "git@github.com:user/repo.git and user@host, a@b.shape, icon@2x.png, run@main.py",
        "@decorator npm i lodash@4.17.21 x@y a @ b.com @@ -1,4 +1,5 @@ ssh://me:pw@:22",
        "docker pull image@sha256:0123456789abcdef  user@localhost:8080",
    ],
    "phone": [
        "+1234 +5, 2 + 2 = 4, x +35236450.6 +12345678901234567890 +0 39 06",
        "1990 2001 1234567 12 34 56 78 90; 555 1234; ISBN 978-3-16-148410-0; 0612345678",
        "fax 2018/09/06, tel 06.09.2018, phone v1.2.3; tel: 1 2 3 4 5 6 7 8",
        "@@ -1,5 +1234567 @@ call 212.736 5000.5; -33.8688197, 151.2092955",
    ],
    "ip": [
        "version 21.45.60.100, v31.0.1.2, Chrome/114.0.5735.90, libfoo.so.1.2.40.3, >= 10.40.1.2",
        "§ 12.31.4.1, section 41.2.3.4, 1.2.3.4, 8.2.4.45 Markup, libX11 1.4.99.1 is out",
        "256.1.1.1 1.2.3 12.34.56.78.90 01.32.33.44 12:30:45 00:1b:44:11:3a:b7 std::abs fe::add",
        "x86-1.2.3.444 2.50.40.60-rc1 1999::",
    ],
    "card": [
        "4539 1488 0343 6468 4539148803436466 0.4539148803436467 4539148803436467.5",
        "1234 4539 1488 0343 6467; 4539 1488 0343 6467 1111; 0000 0000 0000 0000",
        "20240101123045678, 9780306406157 1111111111111117 id-4539148803436467",
    ],
    "iban": [
        "IT60 X054 2811 1010 0000 0123 457, DE8937040044053201300, XX82WEST12345698765432",
        "GB82WEST123456987654321, AB12 3456 7890, US64SVBKUS6S3300958879, de89370400440532013000",
    ],
}
NOBODYS = {
    "email": "me@example.com you@x.example root@localhost.localdomain.test a@mail.domain.org",
    "ip": "host 127.0.0.1, 192.0.2.7, 10.31.4.5, 192.168.1.1, 224.0.0.251, 2001:db8::1, 80.1.2.0",
}


def marked(text: str) -> tuple[str, list[str]]:
    """The text without marks, and what was marked."""
    parts = text.replace("›", "‹").split("‹")
    return "".join(parts), parts[1::2]


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts]
)
def test_what_is_personal_is_found_and_nothing_beside_it(kind, text):
    plain, expected = marked(text)
    found = find(plain, list(RULES), REGIONS)
    assert [plain[one.start : one.end] for one in found] == expected
    assert {one.kind for one in found} == {kind}
    assert not any(one.nobodys for one in found)


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in HARD.items() for text in texts]
)
def test_what_only_looks_like_it_is_left_alone(kind, text):
    assert [text[one.start : one.end] for one in find(text, [kind], REGIONS)] == []


@pytest.mark.parametrize("kind", NOBODYS)
def test_addresses_of_documentation_are_told_apart(kind):
    found = find(NOBODYS[kind], list(RULES), REGIONS)
    assert len(found) == len(NOBODYS[kind].replace("host ", "").split())
    assert all(one.nobodys and one.kind == kind for one in found)


def test_a_wrong_digit_or_two_swapped_fail_the_check():
    assert is_card("4539148803436467")
    assert is_iban("IT60X0542811101000000123456")
    for place in range(15):
        digits = list("4539148803436467")
        digits[place] = str((int(digits[place]) + 1) % 10)
        assert not is_card("".join(digits))
    assert not is_iban("IT60X0542811101000000123465")
    assert not is_iban("IT60X054281110100000012345")


@pytest.mark.parametrize("part", ["", "@", "+", "a@", "1.", "1 ", "+1", "DE89", "a:", "4539-", "a"])
def test_long_and_odd_texts_end(part):
    assert find(part * 9000, list(RULES), REGIONS) == []


TEXTS = [
    "Write to anna.rossi@posta.it or call +39 06 6982 1234. Twice: anna.rossi@posta.it!",
    "Nothing is here but version 21.45.60.100.",
    "A page on me@example.com, from 127.0.0.1.",
    "The card 4539 1488 0343 6467 is stolen.",
]
SECRETS = ("anna", "6982", "4539")


def run(tmp_path, texts=TEXTS, exact=True, **rules):
    rows = [
        {"text": text, "source": "ab"[i % 2], "id": int(document_id(text.encode())),
         "origin_file": "f", "origin_row": i}
        for i, text in enumerate(texts)
    ]  # fmt: skip
    given, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    with DocumentWriter(given) as writer:
        writer.append(pa.RecordBatch.from_pylist(rows, SCHEMA))
    with Log("test", tmp_path / "log", quiet=True) as log:
        found = personal_data(given, output, PersonalData(**rules), 1, log, exact)
    return [row for batch in read_documents(output) for row in batch.to_pylist()], *found


def test_masks_are_words_and_the_rest_stays(tmp_path):
    rows, counts, _ = run(tmp_path, action="mask")
    masked = "Write to <EMAIL> or call <PHONE>. Twice: <EMAIL>!"
    assert [row["text"] for row in rows] == [masked, *TEXTS[1:3], "The card <CARD> is stolen."]
    assert [row["id"] for row in rows] == [int(document_id(r["text"].encode())) for r in rows]
    assert counts["sources"]["a"] == {
        "read": 2, "kept": 2, "kept_bytes": len(masked) + len(TEXTS[2]), "changed": 1,
        "dropped": {}, "found": {"email": 2, "phone": 1},
        "documents_with": {"email": 1, "phone": 1}, "excepted": {"email": 1, "ip": 1},
    }  # fmt: skip
    assert counts["text_bytes"] == sum(len(row["text"]) for row in rows)


@pytest.mark.parametrize("exact", [True, False])
def test_of_documents_that_masks_make_equal_the_first_stays(tmp_path, exact):
    texts = [f"Write to {name}@posta.it." for name in ("anna", "bruno", "carla")] + TEXTS[:1]
    rows, counts, _ = run(tmp_path, texts, exact, action="mask")
    assert [row["origin_row"] for row in rows] == ([0, 3] if exact else [0, 1, 2, 3])
    dropped = [counts["sources"][name]["dropped"] for name in "ab"]
    assert dropped == [{"equal to another since it was changed": 1} if exact else {}] * 2
    said = (tmp_path / "log").read_text()
    assert ("; 2 dropped, equal to others once masked" in said) == exact


def test_counting_changes_nothing_and_dropping_drops(tmp_path):
    rows, counted, _ = run(tmp_path, action="count")
    assert [row["text"] for row in rows] == TEXTS
    assert counted["sources"]["b"]["found"] == {"card": 1}
    rows, counts, _ = run(tmp_path, action="drop")
    assert [row["origin_row"] for row in rows] == [1, 2]
    assert counts["sources"]["a"]["dropped"] == {"personal data": 1}


def test_kinds_and_documentation_can_be_chosen(tmp_path):
    rows, *_ = run(tmp_path, action="mask", kinds=["ip"], documentation="include")
    assert [row["text"] for row in rows] == [
        *TEXTS[:2], "A page on me@example.com, from <IP>.", TEXTS[3]
    ]  # fmt: skip


@pytest.mark.parametrize("action", ["count", "mask", "drop"])
def test_nothing_that_was_found_is_written_down(tmp_path, action):
    _, counts, places = run(tmp_path, action=action)
    said = json.dumps([counts, places]) + (tmp_path / "log").read_text()
    assert not [secret for secret in SECRETS if secret in said]
    ((place,),) = (places["card"],)
    assert place | {"id": 0} == {
        "source": "b", "id": 0, "origin_file": "f", "origin_row": 3, "found": 1
    }  # fmt: skip
    if action == "mask":
        assert not [secret for secret in SECRETS if secret in str(read_rows(tmp_path))]


def read_rows(folder):
    return [row for batch in read_documents(folder / "out.parquet") for row in batch.to_pylist()]


def test_the_same_documents_give_the_same_bytes(tmp_path):
    results = [
        (run(tmp_path, action="mask")[1:], (tmp_path / "out.parquet").read_bytes())
        for _ in range(2)
    ]
    assert results[0] == results[1]


def test_a_users_mistakes_are_said_before_anything_is_read():
    with pytest.raises(UserError, match=r"personal_data\.regions: found 'Italy'"):
        check_personal_data(PersonalData(action="mask", regions=["Italy"]))
    with pytest.raises(UserError, match=r"personal_data\.kinds: found none"):
        check_personal_data(PersonalData(action="mask", kinds=[]))


def test_yaml_reads_off_as_false():
    assert PersonalData(action=False).action == "off"
