"""Keys and values of the tokens a model has read, so that the next one costs one token's work and
not the window's.

The cache is asked with the whole window each time and finds by itself what it has read before: the
longest beginning that both have in common. So it can't go stale. A conversation that goes on shares
all but its last turns; a window that slides past the context has every token at another position,
shares nothing and is read again, as without a cache.

One row, no batches: this is for talking. Legend: T new positions, S positions read, otherwise as in
decoder.py.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from pytorch_ext import attention, rms_norm

from .decoder import Block, Decoder

__all__ = ["Cache"]


class Cache:
    """For ``model`` as it is now: other weights need another cache.

    Takes 2 · layers · context · kv_heads · head_dim numbers in the model's compute dtype. Pages of
    it that no token has reached yet cost no memory on a CPU.
    """

    def __init__(self, model: Decoder) -> None:
        shape = model.shape
        size = (shape.layers, 2, 1, shape.context, shape.kv_heads, shape.head_dim)
        self.model = model
        self.read: list[int] = []
        self.kept_L21SKD = torch.empty(
            size, dtype=model.compute_dtype, device=model.embedding.device
        )

    @torch.no_grad()
    def last(self, window: Sequence[int]) -> torch.Tensor:
        """``model.hidden(window)`` at its last position, [C]; between one and model.context ids."""
        window = list(window)
        begin = min(_common(self.read, window), len(window) - 1)  # the last one is always asked for
        x_1TC = self.model.embed(torch.tensor([window[begin:]], device=self.model.embedding.device))
        angles = self.model.cos[begin : len(window)], self.model.sin[begin : len(window)]
        self.read = window[:begin]  # an interruption half way leaves nothing that wasn't read
        for layer, kept_21SKD in zip(self.model.layers, self.kept_L21SKD, strict=True):
            x_1TC = self._block(layer, kept_21SKD[:, :, : len(window)], x_1TC, *angles)
        self.read = window
        return rms_norm(x_1TC[0, -1], self.model.norm, self.model.shape.norm_eps)

    def _block(self, layer: Block, kept_21SKD, x_1TC, cos_TD, sin_TD) -> torch.Tensor:
        """As Block.forward, with the queries of the last T of S positions."""
        own = layer.attention
        q_1THD, k_1TKD, v_1TKD = own.project(
            rms_norm(x_1TC, layer.attention_norm, layer.eps), cos_TD, sin_TD
        )
        kept_21SKD[0][:, -x_1TC.shape[1] :] = k_1TKD
        kept_21SKD[1][:, -x_1TC.shape[1] :] = v_1TKD
        y_1THD = self._attend(q_1THD, *kept_21SKD)
        x_1TC = x_1TC + F.linear(y_1THD.flatten(2), own.o.to(x_1TC.dtype))
        return x_1TC + layer.mlp(rms_norm(x_1TC, layer.mlp_norm, layer.eps))

    def _attend(self, q_1THD, k_1SKD, v_1SKD) -> torch.Tensor:
        """Causal attention of the last T positions; a window read from its beginning goes the
        model's own way.
        """
        new, length = q_1THD.shape[1], k_1SKD.shape[1]
        if new == length:
            return attention(q_1THD, k_1SKD, v_1SKD, backend=self.model.attention_backend)
        mask_TS = None  # a single query sees everything
        if new > 1:
            mask_TS = torch.ones(new, length, dtype=torch.bool, device=q_1THD.device).tril(
                length - new
            )
        y_1HTD = F.scaled_dot_product_attention(
            *(x.transpose(1, 2) for x in (q_1THD, k_1SKD, v_1SKD)),
            attn_mask=mask_TS, enable_gqa=q_1THD.shape[2] != k_1SKD.shape[2],
        )  # fmt: skip
        return y_1HTD.transpose(1, 2)


def _common(a: list[int], b: list[int]) -> int:
    """How many ids both begin with."""
    shorter = min(len(a), len(b))
    if a[:shorter] == b[:shorter]:  # nearly always, and much faster than the loop
        return shorter
    return next(i for i in range(shorter) if a[i] != b[i])
