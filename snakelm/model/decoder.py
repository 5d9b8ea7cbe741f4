"""The network: a Qwen3-shaped decoder, so that what it learns loads as a standard architecture
elsewhere.

RMS-norm before each sublayer (Zhang & Sennrich 2019), rotary positions (Su et al. 2021), RMS-norm
of each query and key head before the rotation (Qwen3), grouped key/value heads (Ainslie et al.
2023), SwiGLU (Shazeer 2020), optionally one matrix for embedding and head. With model.qk_norm off
it is Llama's shape.

What speeds up learning and leaves no trace in the exported model: an RMS-norm without gain right
after the embedding (a function of the token alone, so it folds into the table), residual outputs
that start at zero, an untied head. Left out because no other tool loads it: ReLU², value
embeddings, logit softcap.

Weights are kept in float32; products take copies of them in the compute dtype (working_copies.py),
which the residual stream is in, too.

Shape suffixes, as in x_BTC:
    B batch rows      C width of the residual stream      H query heads        D size of a head
    T positions       F hidden size of the SwiGLU block   K key/value heads    V vocabulary
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from pytorch_ext import attention, linear_cross_entropy, qk_norm_rope, rms_norm, rope, swiglu

from ..config import Model
from .dropout import Dropout
from .fused_block import fused, fused_inputs
from .products import product, products
from .sampled_head import sampled_cross_entropy
from .token_log_probs import token_log_probs
from .working_copies import working_copy

__all__ = ["Decoder", "rotary_table"]

IGNORE = -100  # a target that doesn't count towards the loss


class Decoder(nn.Module):
    """``model`` gives the shape, ``vocab_size`` comes from the tokenizer.

    ``compute_dtype``: dtype of activations and products; ``attention_backend``: passed to
    pytorch_ext.attention. ``checkpoint_blocks``: whether training keeps only what goes into each
    block and computes the rest again on the way back (Chen et al. 2016, arXiv:1604.06174): the same
    bits, for a third more products and a fraction of the memory.
    """

    cos: torch.Tensor  # [T, D/2], float32
    sin: torch.Tensor

    def __init__(
        self,
        model: Model,
        vocab_size: int,
        compute_dtype: torch.dtype = torch.float32,
        attention_backend: str | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.vocab_size = model, vocab_size
        self.compute_dtype, self.attention_backend = compute_dtype, attention_backend
        self.checkpoint_blocks = False

        self.embedding = nn.Parameter(torch.empty(vocab_size, model.width))
        self.layers = nn.ModuleList(Block(model) for _ in range(model.layers))
        self.norm = nn.Parameter(torch.ones(model.width))
        if not model.tie_embeddings:
            self.head = nn.Parameter(torch.empty(vocab_size, model.width))

        # Not part of the state: they follow from the shape.
        cos_TD, sin_TD = rotary_table(model.context, model.head_dim, model.rope_base)
        self.register_buffer("cos", cos_TD, persistent=False)
        self.register_buffer("sin", sin_TD, persistent=False)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> "Decoder":
        """Fills the weights: uniform matrices of variance 1/inputs, zero residual outputs, a small
        head.

        In the order of the parameters, each with its own draws of ``generator``: a model is a
        function of its shape and the seed.
        """
        for name, weight in self.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1.0)
            elif name.endswith((".o", ".down")):
                weight.zero_()  # every block begins as the identity
            elif name == "embedding":
                weight.normal_(0.0, 0.02 if self.shape.tie_embeddings else 1.0, generator=generator)
            elif name == "head":
                weight.normal_(0.0, 0.001, generator=generator)
            else:
                bound = math.sqrt(3.0 / weight.shape[1])  # U(-b, b) has variance b²/3
                weight.uniform_(-bound, bound, generator=generator)
        return self

    @property
    def head_weight(self) -> torch.Tensor:
        """The output matrix [V, C], which is the embedding when they are tied."""
        return self.embedding if self.shape.tie_embeddings else self.head

    def forward(
        self,
        tokens_BT: torch.Tensor,
        row_start_BT: torch.Tensor | None = None,
        targets_BT: torch.Tensor | None = None,
        sample: tuple[torch.Tensor, torch.Tensor] | None = None,
        dropout: Dropout | None = None,
        by_token: bool = False,
    ) -> torch.Tensor:
        """Logits [B, T, V], or with targets (int64, -100 doesn't count) the cross-entropy summed
        over them, in nats.

        ``tokens_BT``: int64, T at most model.context. ``row_start_BT``: int32, the first position
        that each one attends to (its document's start); None lets every position attend to all of
        the row before it. ``sample``: the tokens that the softmax goes over instead of all, with
        their corrections (`sampled_cross_entropy`); ``dropout``: what is dropped; both for training
        only. ``by_token``: the log-probability of each target that counts instead, in their order.
        """
        x_BTC = self.hidden(tokens_BT, row_start_BT, dropout)
        if sample is not None and targets_BT is not None:
            x_NC, targets_N = x_BTC.flatten(0, 1), targets_BT.flatten()
            return sampled_cross_entropy(x_NC, self.head_weight, targets_N, *sample, IGNORE)

        head_VC = working_copy(self.head_weight, x_BTC.dtype)
        if targets_BT is None:
            return F.linear(x_BTC, head_VC)
        if by_token:
            return token_log_probs(x_BTC.flatten(0, 1), head_VC, targets_BT.flatten(), IGNORE)

        # One fused operation, so that the logits [B·T, V] never exist as a whole.
        return linear_cross_entropy(
            x_BTC.flatten(0, 1), head_VC, targets_BT.flatten(), IGNORE, reduction="sum"
        )

    def hidden(
        self,
        tokens_BT: torch.Tensor,
        row_start_BT: torch.Tensor | None = None,
        dropout: Dropout | None = None,
    ) -> torch.Tensor:
        """The residual stream [B, T, C] after the last norm: the head's input, and what document
        embeddings are made from.
        """
        length = tokens_BT.shape[1]
        cos_TD, sin_TD = self.cos[:length], self.sin[:length]

        shared = row_start_BT, cos_TD, sin_TD, self.attention_backend
        again = self.checkpoint_blocks and torch.is_grad_enabled()

        x_BTC, added_BTC = self.embed(tokens_BT), None
        if dropout is not None:
            x_BTC = dropout(x_BTC, 0)
        for number, layer in enumerate(self.layers):
            # The embedding's masks have place 0.
            given = x_BTC, added_BTC, *shared, dropout, 1 + 2 * number
            if again:
                x_BTC, added_BTC = checkpoint(layer, *given, use_reentrant=False)
            else:
                x_BTC, added_BTC = layer(*given)

        return add_and_norm(x_BTC, added_BTC, self.norm, self.shape.norm_eps)[0]

    def embed(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """The residual stream's start [B, T, C]."""
        x_BTC = F.embedding(tokens_BT, self.embedding)
        if self.shape.embedding_norm:
            x_BTC = rms_norm(x_BTC, None, self.shape.norm_eps)
        return x_BTC.to(self.compute_dtype)


class Block(nn.Module):
    """Attention, then SwiGLU, each added to the residual stream. The next norm adds it, in its own
    pass over the stream: until then it travels beside it.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.eps = model.norm_eps

        self.attention_norm = nn.Parameter(torch.ones(model.width))
        self.attention = Attention(model)
        self.mlp_norm = nn.Parameter(torch.ones(model.width))
        self.mlp = Mlp(model)

    def forward(
        self,
        x_BTC: torch.Tensor,
        added_BTC: torch.Tensor | None,
        row_start_BT: torch.Tensor | None,
        cos_TD: torch.Tensor,
        sin_TD: torch.Tensor,
        backend: str | None,
        dropout: Dropout | None = None,
        place: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The stream [B, T, C] and what is to be added to it (None: nothing yet) → the same.

        ``dropout``: of what each sublayer adds, with masks of ``place`` and the one after it.
        """
        if dropout is None:
            inputs = fused_inputs(self, x_BTC, backend)
            if inputs is not None:
                return fused(self, x_BTC, added_BTC, row_start_BT, cos_TD, sin_TD, inputs)

        y_BTC, x_BTC = add_and_norm(x_BTC, added_BTC, self.attention_norm, self.eps)
        added_BTC = self.attention(y_BTC, row_start_BT, cos_TD, sin_TD, backend)
        if dropout is not None:
            added_BTC = dropout(added_BTC, place)

        y_BTC, x_BTC = rms_norm(added_BTC, self.mlp_norm, self.eps, residual=x_BTC)
        added_BTC = self.mlp(y_BTC)
        return x_BTC, added_BTC if dropout is None else dropout(added_BTC, place + 1)


class Attention(nn.Module):
    """Causal attention over grouped heads; weights [outputs, inputs]."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.head_dim, self.eps, self.qk_norm = model.head_dim, model.norm_eps, model.qk_norm

        queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
        self.q = nn.Parameter(torch.empty(queries, model.width))
        self.k = nn.Parameter(torch.empty(keys, model.width))
        self.v = nn.Parameter(torch.empty(keys, model.width))
        self.o = nn.Parameter(torch.empty(model.width, queries))

        if model.qk_norm:
            self.q_norm = nn.Parameter(torch.ones(model.head_dim))
            self.k_norm = nn.Parameter(torch.ones(model.head_dim))

    def project(
        self, x_BTC: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotated queries [B, T, H, D], rotated keys and plain values [B, T, K, D]."""
        q_BTHD, k_BTKD, v_BTKD = (
            y_BTR.unflatten(-1, (-1, self.head_dim))
            for y_BTR in products(x_BTC, self.q, self.k, self.v)
        )

        if not self.qk_norm:
            return rope(q_BTHD, cos_TD, sin_TD), rope(k_BTKD, cos_TD, sin_TD), v_BTKD
        q_BTHD, k_BTKD = qk_norm_rope(
            q_BTHD, k_BTKD, self.q_norm, self.k_norm, cos_TD, sin_TD, self.eps
        )
        return q_BTHD, k_BTKD, v_BTKD

    def forward(
        self,
        x_BTC: torch.Tensor,
        row_start_BT: torch.Tensor | None,
        cos_TD: torch.Tensor,
        sin_TD: torch.Tensor,
        backend: str | None,
    ) -> torch.Tensor:
        """[B, T, C] → [B, T, C], without the residual."""
        q_BTHD, k_BTKD, v_BTKD = self.project(x_BTC, cos_TD, sin_TD)
        y_BTHD = attention(q_BTHD, k_BTKD, v_BTKD, row_start=row_start_BT, backend=backend)
        return product(y_BTHD.flatten(2), self.o)


class Mlp(nn.Module):
    """SwiGLU: down(silu(gate x) · up x)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.empty(model.hidden, model.width))
        self.up = nn.Parameter(torch.empty(model.hidden, model.width))
        self.down = nn.Parameter(torch.empty(model.width, model.hidden))

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """[B, T, C] → [B, T, C], without the residual."""
        gate_BTF, up_BTF = products(x_BTC, self.gate, self.up)
        return product(swiglu(gate_BTF, up_BTF), self.down)


def add_and_norm(
    x_BTC: torch.Tensor, added_BTC: torch.Tensor | None, gain_C: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(norm of x + added, x + added), both [B, T, C]; nothing is added for None."""
    if added_BTC is None:
        return rms_norm(x_BTC, gain_C, eps), x_BTC
    return rms_norm(added_BTC, gain_C, eps, residual=x_BTC)


def rotary_table(
    context: int, head_dim: int, base: float, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of position · base^(-2i/head_dim), ``dtype`` [context, head_dim/2].

    Computed in float64: in float32 the angles of late positions would lose their low bits. On the
    CPU, whatever the default device: the same bits everywhere.
    """
    exact: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
    frequency_D = base ** -(torch.arange(0, head_dim, 2, **exact) / head_dim)
    angle_TD = torch.arange(context, **exact)[:, None] * frequency_D
    return angle_TD.cos().to(dtype), angle_TD.sin().to(dtype)
