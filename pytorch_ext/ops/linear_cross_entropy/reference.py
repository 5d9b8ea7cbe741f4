"""Cross-entropy of a linear head in plain torch: the specification. Holds all N x V logits in
float32.
"""

import torch


def linear_cross_entropy_reference(
    x_NC: torch.Tensor,
    weight_VC: torch.Tensor,
    target_N: torch.Tensor,
    ignore_index: int,
    mean: bool,
    z_loss: float,
    softcap: float,
) -> torch.Tensor:
    """Loss of logits x weight^T against target, a scalar in at least float32; 0 when every target
    is ignored. softcap: 0 for none.
    """
    wide = torch.promote_types(x_NC.dtype, torch.float32)
    logits_NV = (x_NC @ weight_VC.to(x_NC.dtype).t()).to(wide)
    if softcap:
        logits_NV = softcap * torch.tanh(logits_NV / softcap)
    total = torch.nn.functional.cross_entropy(
        logits_NV, target_N, ignore_index=ignore_index, reduction="sum"
    )

    kept_N = target_N != ignore_index
    if z_loss:
        kept_NV = logits_NV.where(kept_N[:, None], 0.0)  # what is ignored may be infinite
        log_sum_N = kept_NV.logsumexp(dim=1)
        total = total + z_loss * (kept_N * log_sum_N.square()).sum()
    return total / kept_N.sum().clamp(min=1) if mean else total  # torch's mean of nothing is NaN
