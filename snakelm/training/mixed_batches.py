"""Conversations and pretraining text in one stream: what is tuned without its text forgets it.

A step has its packs (packed_batches.py) and rows of train.bin beside them, cut as in pretraining
and learned whole. Rows are as long as the model looks back, so that text keeps its long view; packs
that are shorter share a row, as positions count by their distance only and attention doesn't look
from one conversation into the next.

How much text comes before step s follows from the conversations' tokens before s, in whole rows: so
the share holds, to half a row, from the first step up to any other, all of it is a function of
(seed, step), and nothing has to be saved to resume.

Legend: R rows, T positions of a row.
"""

import numpy as np

from ..data.bins import TokenBin
from ..data.packs import IGNORED
from ..errors import UserError
from .batches import Batches, Rows
from .packed_batches import PackedBatches

__all__ = ["MixedBatches", "check_text", "side_by_side"]

TEXT = 1  # apart from the order of the packs, and from pretraining's first documents


class MixedBatches:
    """The stream of ``packs`` with text of ``train_bin`` as ``share`` of its tokens, in (0, 1), in
    rows of ``context``; as many steps as ``packs`` has.
    """

    def __init__(
        self, packs: PackedBatches, train_bin: TokenBin, share: float, context: int
    ) -> None:
        self.packs, self.context, self.steps = packs, context, packs.steps
        self.rows_per_token = share / (1 - share) / context  # of text, by conversations' tokens
        seed = np.random.SeedSequence([packs.seed, TEXT]).generate_state(1)[0]
        self.text = Batches(train_bin, context, context, int(seed))  # a row a step

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """The rows of ``step`` (from 0) that fall to ``rank`` of ``world`` processes: of
        conversations first, then of text; may be none.
        """
        rows = [side_by_side(self.packs.rows(step), self.context)]
        rows += [self.text.rows(row) for row in range(self._text(step), self._text(step + 1))]
        batch = Rows(
            np.concatenate([one.tokens for one in rows]),
            np.concatenate([one.targets for one in rows]),
            np.concatenate([one.row_start for one in rows]),
        )
        return batch.part(rank * len(batch) // world, (rank + 1) * len(batch) // world)

    def targets(self, step: int) -> int:
        """Tokens to predict in ``step``: those of answers, and of text all."""
        text = self._text(step + 1) - self._text(step)
        return self.packs.targets(step) + text * self.context

    def tokens(self, step: int) -> int:
        """Tokens seen before ``step``, padding left out."""
        return self.packs.tokens(step) + self._text(step) * self.context

    def epoch(self, step: int) -> float:
        """Epochs of the conversations seen before ``step``."""
        return self.packs.epoch(step)

    @property
    def text_tokens(self) -> int:
        """Tokens of text in all steps."""
        return self._text(self.steps) * self.context

    def _text(self, step: int) -> int:
        """Rows of text before ``step``."""
        return round(self.packs.tokens(step) * self.rows_per_token)


def side_by_side(rows: Rows, context: int) -> Rows:
    """Shorter ``rows`` [R, t] as rows of ``context``: as many in one as there is room for, padded
    with positions that predict nothing and see themselves alone.
    """
    count, length = rows.tokens.shape
    each = context // length
    into = -(-count // each)

    laid: list[np.ndarray] = []
    for array, padding in ((rows.tokens, 0), (rows.targets, IGNORED), (rows.row_start, -1)):
        complete = np.full((into * each, length), padding, array.dtype)
        complete[:count] = array
        wide = np.full((into, context), padding, array.dtype)
        wide[:, : each * length] = complete.reshape(into, each * length)
        laid.append(wide)

    # Where a conversation begins in its own row, moved to where that row begins in the long one.
    tokens, targets, start = laid
    column = np.arange(context, dtype=start.dtype)
    return Rows(tokens, targets, np.where(start < 0, column, start + column // length * length))


def check_text(train_bin: TokenBin, context: int) -> None:
    """UserError for a text that doesn't fill a row."""
    if train_bin.meta.tokens < context:
        raise UserError(
            f"{train_bin.path}: {train_bin.meta.tokens:,} tokens, less than a row of {context} to "
            "be mixed in; bring more text, or set sft.mix: 0"
        )
