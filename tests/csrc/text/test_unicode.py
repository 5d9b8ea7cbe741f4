"""The committed class table is what generate_unicode.py makes of tiktoken's own categories."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location(
        "generate_unicode", ROOT / "csrc/text/generate_unicode.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_table_is_what_the_script_says(generator):
    assert generator.OUTPUT.read_text() == generator.render(generator.classify())


def test_classes_of_known_characters(generator):
    table = generator.classify()
    expected = {
        " ": 1,
        "\u0085": 1,
        "1": 2,
        "½": 2,
        "\u0301": 3,
        "A": 4,
        "ǅ": 4,
        "a": 5,
        "ſ": 5,
        "ʰ": 6,
        "漢": 6,
        "!": 0,
    }
    assert {character: table[ord(character)] for character in expected} == expected
