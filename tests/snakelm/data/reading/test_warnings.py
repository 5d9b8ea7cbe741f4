"""Each kind of warning is one line, with a count and the first few places."""

from snakelm.data.reading.warnings import Warnings


def said(add):
    heard = []
    warnings = Warnings(heard.append)
    add(warnings)
    warnings.say()
    warnings.say()
    return heard


def test_a_kind_is_said_once_with_its_first_places():
    def add(warnings):
        for i in range(900):
            warnings.add("not JSON", f"a.jsonl:{i + 1}", f"not JSON (column {i}); left out")
        warnings.add("no rows", "b.jsonl", "no rows")

    assert said(add) == [
        "a.jsonl:1: not JSON (column 0); left out; also a.jsonl:2, a.jsonl:3 and 897 more",
        "b.jsonl: no rows",
    ]


def test_files_with_the_same_fault_are_one_kind_whatever_its_particulars():
    def add(warnings):
        for i in range(5):
            warnings.add_file(
                f"{i}.parquet", f"row group {i} is damaged (crc {i}, 'x{i}'); left out"
            )
        warnings.add_file("c.parquet", "empty, 0 bytes; left out")

    first, second = said(add)
    assert first.endswith("left out; also 1.parquet, 2.parquet and 2 more")
    assert second == "c.parquet: empty, 0 bytes; left out"


def test_many_kinds_are_cut_short_and_counted():
    def add(warnings):
        for i in range(500):
            warnings.add(f"kind {i}", f"{i}", "bad")

    heard = said(add)
    assert len(heard) < 12
    assert heard[-1] == f"and {500 - len(heard) + 1} warnings of {500 - len(heard) + 1} other kinds"


def test_nobody_is_told_what_nobody_listens_to():
    warnings = Warnings(None)
    warnings.add("a", "b", "c")
    warnings.say()
