"""The committed normal form is what generate_normal_form.py makes of Python's tables."""

import re
import unicodedata

from csrc.dedup import generate_normal_form as generator


def mappings(table: str) -> dict[int, list[int]]:
    """Code point → those that it becomes, of the text of normal_form_table.h."""
    numbers = [int(n, 16) for n in re.findall(r"0x\w+", table.partition("MAPPINGS")[2])]
    made, at = {}, 0
    while at < len(numbers):
        count = numbers[at] & 31
        made[numbers[at] >> 5] = numbers[at + 1 : at + 1 + count]
        at += 1 + count
    return made


def test_the_committed_table_is_what_the_script_says():
    """With another Unicode than the table's, of the characters that both know."""
    committed, made = generator.OUTPUT.read_text(), generator.render()
    if f"Unicode {unicodedata.unidata_version};" in committed:
        assert made == committed
    else:
        assert mappings(committed).items() <= mappings(made).items()
