"""Keys and values of the tokens that a model has processed, so that the next token costs one
token's work and not the window's.

The cache is given the whole window each time and finds by itself how much of it it holds: the
longest prefix that both have in common. So it can't go stale. A conversation that continues shares
all but its last turns; a window that slides past the context has every token at another position,
shares nothing and is computed anew, as without a cache.

One row, no batches: this is for conversations. Shape suffixes as in decoder.py, and: T new
positions, S all positions of the window, L layers, 2 keys and values, 1 the row.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F

from pytorch_ext import attention, rms_norm

from .decoder import Block, Decoder
from .products import product

__all__ = ["Cache"]


class Cache:
    """For ``model`` as it is now: other weights need another cache. ``ids`` are those it holds.

    Takes 2 · layers · context · kv_heads · head_dim numbers in the model's compute dtype. Pages of
    it that no token has reached yet take no memory on a CPU.
    """

    def __init__(self, model: Decoder) -> None:
        shape = model.shape
        size = (shape.layers, 2, 1, shape.context, shape.kv_heads, shape.head_dim)
        self.model = model
        self.ids: list[int] = []
        self.kv_L21SKD = torch.empty(size, dtype=model.compute_dtype, device=model.embedding.device)

    @torch.no_grad()
    def last_hidden(self, window: Sequence[int]) -> torch.Tensor:
        """``model.hidden(window)`` at its last position, [C]; between one and model.context ids."""
        window = list(window)
        start = min(_common_prefix(self.ids, window), len(window) - 1)  # the last is always needed
        cos_TD, sin_TD = self.model.cos[start : len(window)], self.model.sin[start : len(window)]

        self.ids = window[:start]  # an interruption half way leaves no id that isn't complete
        x_1TC = self.model.embed(torch.tensor([window[start:]], device=self.model.embedding.device))
        for layer, all_21SKD in zip(self.model.layers, self.kv_L21SKD, strict=True):
            x_1TC = self._block(
                cast(Block, layer), all_21SKD[:, :, : len(window)], x_1TC, cos_TD, sin_TD
            )
        self.ids = window

        return rms_norm(x_1TC[0, -1], self.model.norm, self.model.shape.norm_eps)

    def _block(
        self,
        layer: Block,
        kv_21SKD: torch.Tensor,
        x_1TC: torch.Tensor,
        cos_TD: torch.Tensor,
        sin_TD: torch.Tensor,
    ) -> torch.Tensor:
        """As Block.forward, with the queries of the last T of S positions; stores their keys and
        values.
        """
        own, new = layer.attention, x_1TC.shape[1]
        y_1TC = rms_norm(x_1TC, layer.attention_norm, layer.eps)
        q_1THD, k_1TKD, v_1TKD = own.project(y_1TC, cos_TD, sin_TD)

        k_1SKD, v_1SKD = kv_21SKD
        k_1SKD[:, -new:], v_1SKD[:, -new:] = k_1TKD, v_1TKD

        y_1THD = self._attend(q_1THD, k_1SKD, v_1SKD)
        added_1TC = product(y_1THD.flatten(2), own.o)
        y_1TC, x_1TC = rms_norm(added_1TC, layer.mlp_norm, layer.eps, residual=x_1TC)
        return x_1TC + layer.mlp(y_1TC)

    def _attend(
        self, q_1THD: torch.Tensor, k_1SKD: torch.Tensor, v_1SKD: torch.Tensor
    ) -> torch.Tensor:
        """Causal attention of the last T positions. Over a window of new tokens only it is the
        model's own, so that the first token costs no more and is no different than without a cache.
        """
        new, length = q_1THD.shape[1], k_1SKD.shape[1]
        if new == length:
            return attention(q_1THD, k_1SKD, v_1SKD, backend=self.model.attention_backend)

        mask_TS = None  # a single query attends to everything
        if new > 1:
            mask_TS = torch.ones(new, length, dtype=torch.bool, device=q_1THD.device)
            mask_TS = mask_TS.tril(length - new)

        y_1HTD = F.scaled_dot_product_attention(
            q_1THD.transpose(1, 2),
            k_1SKD.transpose(1, 2),
            v_1SKD.transpose(1, 2),
            attn_mask=mask_TS,
            enable_gqa=q_1THD.shape[2] != k_1SKD.shape[2],
        )
        return y_1HTD.transpose(1, 2)


def _common_prefix(a: list[int], b: list[int]) -> int:
    """The number of ids that both begin with."""
    shorter = min(len(a), len(b))
    if a[:shorter] == b[:shorter]:  # nearly always, and much faster than the loop
        return shorter
    return next(i for i in range(shorter) if a[i] != b[i])
