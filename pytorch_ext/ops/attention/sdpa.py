"""Causal attention by torch's scaled_dot_product_attention, whatever kernel that has here."""

import torch

from pytorch_ext.ops.attention.reference import visible


def attention_sdpa(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    row_start_BT: torch.Tensor | None,
    scale: float,
) -> torch.Tensor:
    """The same by torch's scaled_dot_product_attention; row_start becomes a materialised [B, 1, T,
    S] mask.
    """
    batch, length, heads, _ = q_BTHD.shape
    q, k, v = (x.transpose(1, 2) for x in (q_BTHD, k_BTKD, v_BTKD))
    mask = None if row_start_BT is None else visible(row_start_BT, batch, length, q.device)[:, None]
    out_BHTD = torch.nn.functional.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=True if heads != k_BTKD.shape[2] else False,  # noqa: SIM210 (no SymBool)
    )
    return out_BHTD.transpose(1, 2)
