"""How many parameters and operations a shape has, in closed form: known before anything is
allocated.
"""

from dataclasses import dataclass

from ..config import Model

__all__ = ["Counts", "counts"]


@dataclass(frozen=True)
class Counts:
    """Parameters by where they are, and operations of a training step (forward and backward) for
    each token.

    ``matrices``: inside blocks; ``embedding``: the table; ``head``: 0 when tied; ``gains``: of the
    norms. ``flops_per_token`` counts a multiply-add as two, attention over the causal half only,
    the embedding look-up not.
    """

    matrices: int
    embedding: int
    head: int
    gains: int
    flops_per_token: float

    @property
    def total(self) -> int:
        """All parameters."""
        return self.matrices + self.embedding + self.head + self.gains


def counts(model: Model, vocab_size: int) -> Counts:
    """The counts of a Decoder of this shape and vocabulary."""
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    layer = 2 * model.width * queries + 2 * model.width * keys + 3 * model.width * model.hidden
    gains = 2 * model.width + (2 * model.head_dim if model.qk_norm else 0)
    table = vocab_size * model.width
    seen = (model.context + 1) / 2  # positions that a query sees, on average
    attention = 2 * 2 * queries * seen  # scores and their sum over values, forward
    return Counts(
        matrices=model.layers * layer,
        embedding=table,
        head=0 if model.tie_embeddings else table,
        gains=model.layers * gains + model.width,
        # 2 forward and 4 backward for each weight; attention's backward costs two forwards as well
        flops_per_token=6.0 * (model.layers * layer + table) + 3.0 * model.layers * attention,
    )
