"""Which of the texts that a check has made were made before."""

import random
from itertools import pairwise

import pytest

from snakelm.data.documents.changed_texts import NewTexts


def test_a_text_is_a_copy_of_any_that_came_before_in_its_batch_or_an_earlier_one():
    chance, texts, seen = random.Random(1), NewTexts(exact=True), set()
    for _ in range(300):
        changed = {3 * i: f"text {chance.randrange(2000)}" for i in range(chance.randrange(40))}
        expected = set()
        for row, text in changed.items():
            if text in seen:
                expected.add(row)
            seen.add(text)
        assert texts.copies(changed) == expected

    sizes = [ids.size for ids in texts._seen]
    assert sum(sizes) == len(seen), "each once"
    assert all(size > 2 * following for size, following in pairwise(sizes))


@pytest.mark.parametrize("changed", [{}, {0: "a", 1: "a"}])
def test_where_copies_may_stay_none_is_one(changed):
    assert NewTexts(exact=False).copies(changed) == set()
