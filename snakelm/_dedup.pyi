"""Shingles, MinHash signatures and near duplicates, csrc/dedup: see binding.cpp there."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# One Arrow string array: (data address, data bytes, offsets address, offset width, first row, rows)
_Chunk = tuple[int, int, int, int, int, int]

def shingles(
    chunks: Sequence[_Chunk], length: int, threads: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]: ...
def signatures(
    chunks: Sequence[_Chunk], length: int, permutations: int, threads: int
) -> NDArray[np.uint32]: ...
def words(text: bytes) -> list[str]: ...
def drop_near_duplicates(
    links: NDArray[np.uint32],
    signatures: NDArray[np.uint16],
    rows: NDArray[np.uint32],
    state: NDArray[np.uint32],
    first: int,
    last: int,
    min_equal: int,
    bucket_limit: int,
) -> int: ...
