"""Heads that copy, from the first step on: a previous-token head in the first layer and an
induction head in the second, set by hand.

An induction head attends to what followed earlier occurrences of the current token, and so predicts
that it follows again (Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Olsson
et al. 2022, In-context Learning and Induction Heads). Its keys are tokens that another head, in a
layer before, has moved one position on. Neither is of use without the other, so that training finds
the pair late, and at another step with every seed; from then on it learns much faster. Here both
are there before the first step, and what is left to learn is what to do with what is found
(docs/EXPERIMENTS.md). Only weights are set: the shape, and what is exported, is the same.

- **Room.** The last R components of the residual stream are empty: no embedding has anything there,
  and the head gives them no weight. (`bigram_init` leaves them out.)
- **Features of a token**: its whitened embedding in R random directions. Whitened over the text,
  since the directions in which embeddings vary most say what tokens have in common.
- **Previous-token head.** Query and key come from the embedding's constant, so they are the same at
  every position, and rotated by it: their product is Σ cos(θ (d - 1)) over the fast frequencies θ
  for a distance of d, largest at 1. The output writes the attended token's features into the room.
- **Induction head.** The query has the current token's features, the key what stands in the room,
  both on the slow frequencies, which hardly turn over a document. Its output is zero, as that of
  every other head: the first steps fill it.

Legend: V vocabulary, C width, D size of a head, R room.
"""

import torch

from ..config import Model
from ..model import Decoder
from ..model.decoder import Attention, rotary_table

__all__ = ["applies", "room_of", "start_with_induction_heads"]

FAST = 0.2  # radians a position, at least: frequencies that tell distances of 0, 1 and 2 apart
SLOW = 0.02  # radians, at most: frequencies that tokens are compared on
FEWEST_FAST = 3  # frequencies
ROOMS = 4  # in a width, at least
OTHERS = 0.1  # what is left of the random weights of both heads' queries and keys
LEAST_VARIANCE = 1e-4  # of an embedding's directions, as a share of the largest


def applies(model: Model) -> bool:
    """Whether a model of this shape, started from bigrams, can have these heads: two layers, key
    heads to spare, normalised queries and keys, slow and fast frequencies.
    """
    fast, slow = _frequencies(model)
    return (
        model.layers >= 2
        and model.kv_heads >= 2
        and model.qk_norm
        and len(fast) >= FEWEST_FAST
        and len(slow) == len(_angles(model)) // 2
        and model.width >= ROOMS * room_of(model)
    )


def room_of(model: Model) -> int:
    """R: as many components as there are in the slow half of a head's frequencies."""
    return model.head_dim // 2


@torch.no_grad()
def start_with_induction_heads(
    model: Decoder, frequency_V: torch.Tensor, generator: torch.Generator
) -> None:
    """Overwrites the first head's share of two layers, of a model that starts from bigrams with
    R components of room. ``frequency_V``: the tokens' shares of the text, float32.
    """
    room, head_dim = room_of(model.shape), model.shape.head_dim
    feature_RC = _token_features(model, frequency_V, room, generator)
    own = slice(0, head_dim)

    # Previous token: pairs (i, i + D/2) turn together, the query by one position less.
    first = _attention(model, 0)
    fast, slow = _frequencies(model.shape)
    angle = _angles(model.shape)[fast]
    query_D, key_D = torch.zeros(head_dim), torch.zeros(head_dim)
    key_D[fast] = 1.0
    query_D[fast], query_D[fast + head_dim // 2] = angle.cos(), -angle.sin()
    for weight, constant_D in ((first.q, query_D), (first.k, key_D)):
        weight[own] *= OTHERS
        weight[own, 0] = constant_D
    first.v[:room] = feature_RC
    first.o[-room:, :room] = torch.eye(room)

    # Induction: the current token against the one before each position.
    second = _attention(model, 1)
    compared = torch.cat([slow, slow + head_dim // 2])
    for weight in (second.q, second.k):
        weight[own] *= OTHERS
    second.q[compared] = feature_RC
    second.k[compared] = 0.0
    second.k[compared, torch.arange(-room, 0)] = 1.0


def _token_features(
    model: Decoder, frequency_V: torch.Tensor, room: int, generator: torch.Generator
) -> torch.Tensor:
    """[R, C], whose products with a token's embedding are uncorrelated over the text, each of mean
    zero and variance one.
    """
    share_V = (frequency_V / frequency_V.sum()).double()
    embedding_VC = model.embedding.double()
    constant, rows_VE = embedding_VC[:, 0].mean(), embedding_VC[:, 1:-room]

    mean_E = share_V @ rows_VE
    centred_VE = rows_VE - mean_E
    covariance_EE = centred_VE.t() @ (centred_VE * share_V[:, None])
    variance_E, direction_EE = torch.linalg.eigh(covariance_EE)
    scale_E = variance_E.clamp(min=LEAST_VARIANCE * variance_E.max()).rsqrt()

    random_ER = torch.randn(len(mean_E), room, generator=generator, dtype=torch.float64)
    chosen_RE = torch.linalg.qr(random_ER).Q.t()
    feature_RE = chosen_RE @ direction_EE * scale_E @ direction_EE.t()

    # The constant takes the mean off.
    feature_RC = torch.zeros(room, model.shape.width, dtype=torch.float64)
    feature_RC[:, 1:-room] = feature_RE
    feature_RC[:, 0] = -(feature_RE @ mean_E) / constant
    return feature_RC.float()


def _attention(model: Decoder, layer: int) -> Attention:
    attention = model.layers[layer].attention
    assert isinstance(attention, Attention)
    return attention


def _angles(model: Model) -> torch.Tensor:
    """Radians a position of each frequency [D/2], float32, the fastest first."""
    cos_TD, sin_TD = rotary_table(2, model.head_dim, model.rope_base)
    return torch.atan2(sin_TD[1], cos_TD[1])


def _frequencies(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers of the fast ones, and of those in the slow half that are slow enough."""
    angle_D = _angles(model)
    half = len(angle_D) // 2
    slow = torch.arange(half, len(angle_D))
    return (angle_D >= FAST).nonzero().flatten(), slow[angle_D[half:] <= SLOW]
