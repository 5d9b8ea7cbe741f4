"""How alike two texts are: 1 less their edit distance over the longer one's length, in characters
(Levenshtein 1966).
"""

import numpy as np

__all__ = ["edit_distance", "similarity"]


def similarity(a: str, b: str) -> float:
    """1 for equal texts, 0 where nothing stands in its place."""
    longest = max(len(a), len(b))
    return 1.0 - edit_distance(a, b) / longest if longest else 1.0


def edit_distance(a: str, b: str) -> int:
    """Characters to insert, delete or replace that make one text the other. A row of the table at a
    time: of n·m steps the m of a row are numpy's.
    """
    if len(a) < len(b):
        a, b = b, a
    columns = np.arange(len(b) + 1)
    others = np.array([ord(character) for character in b], np.int64)

    row = columns.copy()
    for number, character in enumerate(a, 1):
        replaced = row[:-1] + (others != ord(character))
        row[0], row[1:] = number, np.minimum(row[1:] + 1, replaced)
        # An insertion costs 1 more than the cell to its left, however many there are in a row.
        row = np.minimum.accumulate(row - columns) + columns
    return int(row[-1])
