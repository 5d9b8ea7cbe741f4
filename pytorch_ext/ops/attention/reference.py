"""Causal attention in plain torch: the specification, and the path of dtypes that have no kernel.

Legend: B batch, T positions, H query heads, K key heads, D head dimension, S keys (= T).
"""

import torch

from pytorch_ext.autocast import without_autocast


def visible(
    row_start: torch.Tensor | None, batch: int, length: int, device: torch.device
) -> torch.Tensor:
    """Bool [B or 1, T, S]: query t sees key s when row_start[t] <= s <= t, row_start being clamped
    to [0, t].
    """
    position_T = torch.arange(length, device=device)
    mask_1TS = (position_T[None, :] <= position_T[:, None])[None]
    if row_start is None:
        return mask_1TS
    start_BT = torch.minimum(row_start, position_T)  # a negative start hides nothing
    return mask_1TS & (position_T >= start_BT[:, :, None])


def attention_reference(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    row_start_BT: torch.Tensor | None,
    scale: float,
) -> torch.Tensor:
    """softmax(scale * q k^T + mask) v -> [B, T, H, D] in q's dtype; float16 and bfloat16 are
    computed in float32.

    Holds all of [B, H, T, S]: a few hundred positions, not a training context.
    """
    batch, length, heads, _ = q_BTHD.shape
    wide = torch.promote_types(q_BTHD.dtype, torch.float32)
    group = heads // k_BTKD.shape[2]  # query heads that share a key head

    q = q_BTHD.to(wide)
    k = k_BTKD.to(wide).repeat_interleave(group, dim=2)
    v = v_BTKD.to(wide).repeat_interleave(group, dim=2)

    hidden = ~visible(row_start_BT, batch, length, q.device)[:, None]
    with without_autocast(q):
        score_BHTS = torch.einsum("bthd,bshd->bhts", q, k) * scale
        weight_BHTS = score_BHTS.masked_fill(hidden, float("-inf")).softmax(dim=-1)
        return torch.einsum("bhts,bshd->bthd", weight_BHTS, v).to(q_BTHD.dtype)
