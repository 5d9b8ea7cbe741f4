"""Cross-entropy of a linear head in plain torch: the specification. Holds all N x V logits in
float32.
"""

import torch


def linear_cross_entropy_reference(
    x_NC: torch.Tensor,
    weight_VC: torch.Tensor,
    target_N: torch.Tensor,
    ignore_index: int,
    reduction: str,
) -> torch.Tensor:
    """Loss of logits x weight^T against target, a scalar in at least float32; 0 when every target
    is ignored.
    """
    wide = torch.promote_types(x_NC.dtype, torch.float32)
    logits_NV = (x_NC @ weight_VC.t()).to(wide)
    total = torch.nn.functional.cross_entropy(
        logits_NV, target_N, ignore_index=ignore_index, reduction="sum"
    )
    if reduction == "sum":
        return total
    kept = (target_N != ignore_index).sum()
    return total / kept.clamp(min=1)  # cross_entropy's own mean of nothing is NaN
