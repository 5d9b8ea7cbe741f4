"""Damaged JSON of every kind is one line that names the file and the remedy, never a traceback."""

import math
from dataclasses import dataclass

import pytest

from snakelm.errors import UserError
from snakelm.json_files import JsonError, parse_json, read_json

DAMAGED = {
    "empty": b"",
    "cut": b'{"a": [1, 2',
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "nested too deeply": b"[" * 200_000,
    "nested mappings": b'{"a":' * 200_000,
    "a huge integer": b'{"a": ' + b"9" * 10_000 + b"}",
    "NaN": b'{"a": NaN}',
    "a key twice": b'{"a": 1, "b": 2, "a": 1}',
    "a key twice further down": b'[{"b": {"a": 1, "a": 2}}]',
    "a list": b"[]",
    "null": b"null",
    "true": b"true",
    "NULs": b"\0" * 512,
}


@dataclass
class Shape:
    """What a test file should hold."""

    count: int
    names: list[str]


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_a_user_error_with_file_and_remedy(tmp_path, kind):
    path = tmp_path / "x.json"
    path.write_bytes(DAMAGED[kind])
    with pytest.raises(UserError, match=r"x\.json: .*; run it again"):
        read_json(path, remedy="run it again")


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()], ids=["missing", "a folder"])
def test_what_is_no_file_is_a_user_error(tmp_path, make):
    path = tmp_path / "x.json"
    make(path)
    with pytest.raises(UserError, match=r"x\.json: .*; run it again"):
        read_json(path, remedy="run it again")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"names": []}', "count"),
        ('{"count": "many", "names": []}', "count"),
        ('{"count": 1, "names": [[]]}', r"names\.0"),
        ('{"count": 1, "names": null}', "names"),
        ('{"count": "1", "names": []}', "count"),
        ('{"count": true, "names": []}', "count"),
        ("7", "Shape|dictionary|object"),
    ],
)
def test_a_wrong_shape_names_the_key(text, said):
    with pytest.raises(UserError, match=said):
        parse_json(text, Shape)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"\xff", "not UTF-8"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b"[]", "another shape"),
        (b'{"text": "one", "text": "two"}', "a key twice"),
    ],
    ids=["not UTF-8", "cut", "deep", "huge", "list", "a key twice"],
)
def test_the_kind_of_damage_can_be_counted(text, fault):
    with pytest.raises(JsonError) as error:
        parse_json(text)
    assert error.value.fault == fault


def test_nan_is_read_where_it_is_allowed():
    assert math.isnan(parse_json('{"a": NaN}', allow_nan=True)["a"])
    with pytest.raises(JsonError, match="NaN is not a JSON number"):
        parse_json('{"a": NaN}')


def test_what_is_sound_is_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"count": 3, "names": ["é"]}', encoding="utf-8")
    assert read_json(path, Shape, remedy="") == Shape(3, ["é"])
    assert read_json(path, remedy="") == {"count": 3, "names": ["é"]}
    assert parse_json("[1]", list) == [1]
