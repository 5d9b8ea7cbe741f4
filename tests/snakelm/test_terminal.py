"""What a terminal may be shown of a text that anybody wrote."""

import sys

import pytest

from snakelm.terminal import harmless, harmless_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, naïve 中文 🙂", "plain text, naïve 中文 🙂"),
        ("a\nb\tc\rd", "a⏎b⇥c␍d"),
        ("\x1b[31mred\x1b]0;title\x07", "�[31mred�]0;title�"),
        ("\u202eturned\u2066\u200b", "�turned��"),
        ("\x9b31m\u2028\ud800", "�31m��"),
        ("« a »\u3000b".replace(" ", "\xa0"), "« a » b"),
    ],
    ids=[
        "plain",
        "line breaks",
        "escapes",
        "direction",
        "C1, line separator, half a pair",
        "spaces",
    ],
)
def test_only_what_steers_nothing_is_shown(text, shown):
    assert harmless(text) == shown


def test_a_message_of_several_lines_keeps_them():
    assert harmless_lines("a\x1b\n  b\rc\n") == "a�\n  b␍c\n"


def test_no_character_of_unicode_steers():
    for character in map(chr, range(sys.maxunicode + 1)):
        shown = harmless(character)
        assert shown == character or shown in " ⏎⇥␍�"
        assert shown.isprintable()
