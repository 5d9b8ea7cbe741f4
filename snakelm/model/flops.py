"""How many parameters and operations a shape has, in closed form: known before anything is
allocated.
"""

from dataclasses import dataclass

from ..config import Model

__all__ = ["ModelSize", "model_size"]


@dataclass(frozen=True)
class ModelSize:
    """Parameters by where they are, and the operations of a training step (forward and backward)
    per token.

    ``matrices``: inside blocks; ``embedding``: the table; ``head``: 0 when tied; ``gains``: of the
    norms. ``flops_per_token`` counts a multiply-add as two, attention over the causal half only,
    and not the embedding look-up (after Kaplan et al. 2020, section 2.1).
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


def model_size(model: Model, vocab_size: int, sampled: int | None = None) -> ModelSize:
    """The size of a Decoder of this shape and vocabulary. ``sampled``: tokens that the softmax of a
    training step goes over; None for all.
    """
    queries = model.heads * model.head_dim
    gains = 2 * model.width + (2 * model.head_dim if model.qk_norm else 0)
    table = vocab_size * model.width

    multiplied = table if sampled is None else sampled * model.width

    attended = (model.context + 1) / 2  # positions that a query attends to, on average
    attention = 2 * 2 * queries * attended  # forward: scores, and their weighted sum of values

    return ModelSize(
        matrices=model.matrices,
        embedding=table,
        head=0 if model.tie_embeddings else table,
        gains=model.layers * gains + model.width,
        # For each weight 2 forward and 4 backward; attention's backward costs two forwards as well.
        flops_per_token=6.0 * (model.matrices + multiplied) + 3.0 * model.layers * attention,
    )
