"""The committed normal form is what generate_normal_form.py makes of Python's tables."""

import importlib.util
import re
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location(
        "generate_normal_form", ROOT / "csrc/dedup/generate_normal_form.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mappings(table: str) -> dict[int, list[int]]:
    """Code point → those that it becomes, of the text of normal_form_table.h."""
    numbers = [int(n, 16) for n in re.findall(r"0x\w+", table.partition("MAPPINGS")[2])]
    made, at = {}, 0
    while at < len(numbers):
        count = numbers[at] & 31
        made[numbers[at] >> 5] = numbers[at + 1 : at + 1 + count]
        at += 1 + count
    return made


def test_the_committed_table_is_what_the_script_says(generator):
    """With another Unicode than the table's, of the characters that both know."""
    committed, made = generator.OUTPUT.read_text(), generator.render()
    if f"Unicode {unicodedata.unidata_version};" in committed:
        assert made == committed
    else:
        assert mappings(committed).items() <= mappings(made).items()
