"""Causal, document-masked attention: `attention(q, k, v, row_start=...)`.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/attention, float32 and bfloat16; the best instruction set this CPU has.
               `cpu:avx2` and the like insist on one.
    cuda       csrc/ops/attention/attention_cuda.cu: float32, bfloat16 and float16.
    triton     attention_triton.py: the same dtypes; GPUs from sm_80 on, and Linux.
    sdpa       torch's scaled_dot_product_attention; row_start becomes a materialised mask.
    reference  plain torch in at least float32, any device and dtype: the specification.

Non-finite inputs: see csrc/ops/attention/attention.h. The cpu backend keeps a NaN inside the rows
that may see it.
"""

import math

import torch

from pytorch_ext.arguments import check_floating, check_number, check_tensors
from pytorch_ext.autocast import as_for_products
from pytorch_ext.dispatch import choose
from pytorch_ext.ops.attention.native import attention_native
from pytorch_ext.ops.attention.reference import attention_reference
from pytorch_ext.ops.attention.sdpa import attention_sdpa

__all__ = ["attention"]

MOST_HEAD_DIM = {"cuda": 128, "triton": 256}  # registers hold a row of sums


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    row_start: torch.Tensor | None = None,
    scale: float | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Softmax attention over the past: query t sees keys row_start[t] .. t.

    q: [B, T, H, D]; k, v: [B, T, Hkv, D], H a multiple of Hkv; any strides. Returns [B, T, H, D] in
        q's dtype.
    row_start: int32 [B, T], non-decreasing along T, the first position each query may see; clamped
        to [0, t], so that a query sees itself at least. A packed batch gives each token its
        document's first position; a sliding window of w gives arange(T) - w + 1. None: plain
        causal.
    scale: of the scores, positive; 1 / sqrt(D) if None.

    Raises TypeError for what is no tensor or number, ValueError for shapes, dtypes, devices or a
    scale that do not fit, RuntimeError for a backend that is missing here, for a row_start that
    decreases (cpu backend; the others do not look) and for a scale beyond a kernel's float32.
    """
    check_tensors("attention", q=q, k=k, v=v)
    q, k, v = as_for_products(q, k, v)
    _check(q, k, v)
    if row_start is not None:
        _check_row_start(q, row_start)
    if scale is None:
        scale = 1.0 / math.sqrt(q.shape[-1])
    else:
        check_number("attention", "scale", scale)
        if not 0.0 < scale < math.inf:
            raise ValueError(f"attention: scale is {scale}; a positive number expected")

    name, level = choose("attention", backend, "q", q)
    if name == "reference":
        return attention_reference(q, k, v, row_start, scale)
    if name == "sdpa":
        return attention_sdpa(q, k, v, row_start, scale)
    if name in MOST_HEAD_DIM and q.shape[-1] > MOST_HEAD_DIM[name]:
        raise RuntimeError(
            f"attention: backend {name!r} takes D up to {MOST_HEAD_DIM[name]}; D is "
            f"{q.shape[-1]}: pass backend='sdpa'"
        )
    return attention_native(q, k, v, row_start, scale, level)


def _check(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    check_floating("attention", q=q, k=k, v=v)
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.dim() != 4:
            raise ValueError(f"attention: {name} is {list(x.shape)}; [B, T, heads, D] expected")
        if x.dtype != q.dtype:
            raise ValueError(
                f"attention: {name} is {x.dtype} on {x.device}, q is {q.dtype} on {q.device}; "
                "the same expected"
            )

    heads, dim = q.shape[2:]
    if v.shape != k.shape or k.shape[:2] != q.shape[:2] or k.shape[3] != dim:
        raise ValueError(
            f"attention: q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}; "
            "k and v [B, T, Hkv, D] expected, B, T and D as in q"
        )
    if dim == 0 or heads == 0 or k.shape[2] == 0 or heads % k.shape[2] != 0:
        raise ValueError(
            f"attention: {heads} query heads over {k.shape[2]} key heads of {dim}; "
            "a whole multiple expected"
        )


def _check_row_start(q: torch.Tensor, row_start: torch.Tensor) -> None:
    check_tensors("attention", q=q, row_start=row_start)
    batch, length = q.shape[:2]
    if row_start.dtype != torch.int32 or row_start.dim() != 2 or row_start.shape != (batch, length):
        raise ValueError(
            f"attention: row_start is {row_start.dtype} {list(row_start.shape)}; "
            f"int32 {[batch, length]} expected"
        )
