"""How often each token follows each other one in the training text: the pairs that occur, and no
table of all, so that a vocabulary may be as large as the model has it.

Legend: V vocabulary, K pairs that occur.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..data.bins import TokenBin

__all__ = ["PairCounts", "count_pairs"]

CHUNK_TOKENS = 65_536


@dataclass(frozen=True)
class PairCounts:
    """Pairs in the order of their first token, then of the next: first_K and next_K int64, how
    often count_K float32.
    """

    vocab_size: int
    first_K: torch.Tensor
    next_K: torch.Tensor
    count_K: torch.Tensor

    def of_first(self) -> torch.Tensor:
        """How often each token is the first of a pair: float32 [V]."""
        return self._sums(self.first_K)

    def of_next(self) -> torch.Tensor:
        """How often each token is the second of a pair: float32 [V]."""
        return self._sums(self.next_K)

    def _sums(self, ids_K: torch.Tensor) -> torch.Tensor:
        return torch.zeros(self.vocab_size).index_add_(0, ids_K, self.count_K)


def count_pairs(tokens: TokenBin, vocab_size: int, most_tokens: int) -> PairCounts:
    """Of about ``most_tokens``, in chunks at even distances over the file. Takes 8 bytes a token
    while it sorts.
    """
    total = int(tokens.meta.tokens)
    chunks = max(1, min(most_tokens, total) // CHUNK_TOKENS)
    numbers = []
    for i in range(chunks):
        first = i * total // chunks
        ids = tokens.tokens[first : min(first + CHUNK_TOKENS, total)].astype(np.int64)
        numbers.append(ids[:-1] * vocab_size + ids[1:])

    number_K, count_K = np.unique(np.concatenate(numbers), return_counts=True)
    first_K, next_K = np.divmod(number_K, vocab_size)
    return PairCounts(
        vocab_size,
        torch.from_numpy(first_K),
        torch.from_numpy(next_K),
        torch.from_numpy(count_K).float(),
    )
