"""RMS-norm and rotary embedding of query and key heads (Qwen3):
`qk_norm_rope(q, k, q_weight, k_weight, cos, sin, eps)`.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/qk_norm_rope: one pass over the projected heads forward, one backward.
    triton     qk_norm_rope_triton.py: the same on a GPU, q and k in one launch.
    reference  plain torch, any device and dtype; under torch.compile a fused loop each.
"""

import torch

from pytorch_ext.arguments import check_floating, check_number, check_tensors
from pytorch_ext.autocast import as_the_widest
from pytorch_ext.dispatch import choose
from pytorch_ext.ops.qk_norm_rope.native import qk_norm_rope_native
from pytorch_ext.ops.qk_norm_rope.reference import qk_norm_rope_reference
from pytorch_ext.ops.rope import check_angles


def qk_norm_rope(
    q: torch.Tensor,
    k: torch.Tensor,
    q_weight: torch.Tensor,
    k_weight: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float = 1e-6,
    *,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each head of q and k normalised by its root mean square, scaled by its weight, and rotated by
    position, as rope(rms_norm(q, q_weight, eps), cos, sin) with one rounding instead of two.

    q: [B, T, H, D]; k: [B, T, Hkv, D], of one dtype, D even; any strides. q_weight, k_weight: [D].
    cos, sin: [T, D/2] or [B, T, D/2], float32 (rope says why).

    Returns both in their shapes and dtype. Raises ValueError for what doesn't fit and for integers,
    TypeError for what is no tensor or number, RuntimeError for a backend that is missing here or
    doesn't take such tensors.
    """
    given = {"q": q, "k": k, "q_weight": q_weight, "k_weight": k_weight, "cos": cos, "sin": sin}
    check_tensors("qk_norm_rope", **given)
    check_floating("qk_norm_rope", **given)
    check_number("qk_norm_rope", "eps", eps)
    q, k = as_the_widest(q, k)
    _check(q, k, q_weight, k_weight)
    check_angles("qk_norm_rope", q, cos, sin)

    name, level = choose("qk_norm_rope", backend, "q", q)
    if name == "reference":
        return qk_norm_rope_reference(q, k, q_weight, k_weight, cos, sin, eps)
    out_q, out_k = qk_norm_rope_native(q, k, q_weight, k_weight, cos, sin, eps, level)
    return out_q, out_k


def _check(
    q: torch.Tensor, k: torch.Tensor, q_weight: torch.Tensor, k_weight: torch.Tensor
) -> None:
    if q.dim() != 4 or k.dim() != 4 or (*k.shape[:2], k.shape[3]) != (*q.shape[:2], q.shape[3]):
        raise ValueError(
            f"qk_norm_rope: q {list(q.shape)}, k {list(k.shape)}; [B, T, H, D] and [B, T, Hkv, D] "
            "expected"
        )
    if k.dtype != q.dtype:
        raise ValueError(f"qk_norm_rope: k is {k.dtype}, q is {q.dtype}; the same expected")

    for name, weight in (("q_weight", q_weight), ("k_weight", k_weight)):
        if weight.shape != q.shape[3:]:
            raise ValueError(
                f"qk_norm_rope: {name} is {list(weight.shape)}, q {list(q.shape)}; [D] expected"
            )
