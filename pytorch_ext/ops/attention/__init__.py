"""Causal, document-masked attention: `attention(q, k, v, row_start=...)`, its dispatch, autograd
and fake.

Backends, an explicit choice each, never a silent fallback:
    cpu        csrc/ops/attention, float32 and bfloat16; the best instruction set this CPU has. `cpu:avx2` and the
               like (LEVELS) insist on one.
    cuda       csrc/ops/attention/attention_cuda.cu, float32, bfloat16 and float16. First version: correct, not fast.
    sdpa       torch's scaled_dot_product_attention; row_start becomes a materialised mask.
    reference  plain torch in at least float32, any device and dtype: the specification.
Without a choice: float32 and bfloat16 on the CPU run `cpu`, other dtypes there `reference`, other devices `sdpa`.

Non-finite inputs: see csrc/ops/attention/attention.h. The cpu backend keeps a NaN inside the rows
that may see it.
"""

import math

import torch

from pytorch_ext import library
from pytorch_ext.ops.attention.reference import attention_reference, attention_sdpa

LEVELS = ("portable", "avx2", "avx512", "avx512bf16")  # AttentionLevel in attention.h, same order
BACKENDS = ("cpu", *(f"cpu:{level}" for level in LEVELS), "cuda", "sdpa", "reference")
KERNEL_DTYPES = {
    "cpu": (torch.float32, torch.bfloat16),
    "cuda": (torch.float32, torch.bfloat16, torch.float16),
}
MOST_CUDA_HEAD_DIM = 128
BEST = -1


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

    q: [B, T, H, D]; k, v: [B, T, Hkv, D], H a multiple of Hkv; any strides. Returns [B, T, H, D] in q's dtype.
    row_start: int32 [B, T], non-decreasing along T, the first position each query may see; clamped to [0, t], so
        a query sees itself at least. A packed batch gives each token its document's first position; a sliding window
        of w gives arange(T) - w + 1. None: plain causal.
    scale: of the scores, positive; 1 / sqrt(D) if None.
    Raises ValueError for shapes, dtypes or a scale that do not fit, RuntimeError for a backend that is missing here
    and for a row_start that decreases (cpu backend; the others do not look).
    """
    _check(q, k, v, row_start)
    if scale is None:
        scale = 1.0 / math.sqrt(q.shape[-1])
    elif not 0.0 < scale < math.inf:
        raise ValueError(f"attention: scale is {scale}; a positive number expected")
    name, level = _choose(q, backend)
    if name == "reference":
        return attention_reference(q, k, v, row_start, scale)
    if name == "sdpa":
        return attention_sdpa(q, k, v, row_start, scale)
    return torch.ops.pytorch_ext.attention_forward(q, k, v, row_start, scale, level)[0]


def _check(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, row_start: torch.Tensor | None
) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.dim() != 4:
            raise ValueError(f"attention: {name} is {list(x.shape)}; [B, T, heads, D] expected")
        if x.dtype != q.dtype or x.device != q.device:
            raise ValueError(
                f"attention: {name} is {x.dtype} on {x.device}, q is {q.dtype} on {q.device}; the same expected"
            )
    if not q.dtype.is_floating_point:
        raise ValueError(f"attention: q, k and v are {q.dtype}; a floating-point dtype expected")
    batch, length, heads, dim = q.shape
    if v.shape != k.shape or k.shape[:2] != q.shape[:2] or k.shape[3] != dim:
        raise ValueError(
            f"attention: q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}; "
            "k and v [B, T, Hkv, D] expected, B, T and D as in q"
        )
    if dim == 0 or heads == 0 or k.shape[2] == 0 or heads % k.shape[2] != 0:
        raise ValueError(
            f"attention: {heads} query heads over {k.shape[2]} key heads of {dim}; a whole multiple expected"
        )
    if row_start is None:
        return
    if row_start.dtype != torch.int32 or row_start.dim() != 2 or row_start.shape != (batch, length):
        raise ValueError(
            f"attention: row_start is {row_start.dtype} {list(row_start.shape)}; int32 {[batch, length]} expected"
        )
    if row_start.device != q.device:
        raise ValueError(
            f"attention: row_start is on {row_start.device}, q on {q.device}; the same expected"
        )


def _choose(q: torch.Tensor, backend: str | None) -> tuple[str, int]:
    """(backend name without its level, instruction set), after checking that it is here and takes
    these tensors.
    """
    device = q.device.type
    if backend is None:
        backend = "sdpa"
        if device == "cpu":
            backend = "cpu" if q.dtype in KERNEL_DTYPES["cpu"] else "reference"
    if backend not in BACKENDS:
        raise ValueError(f"attention: backend {backend!r} is not one of {', '.join(BACKENDS)}")
    name, _, wanted = backend.partition(":")
    if name in ("sdpa", "reference"):
        return name, BEST
    if not library.LOADED:
        raise RuntimeError(
            f"attention: backend {backend!r} needs {library.LIBRARY.name}, not built; {library.REMEDY}"
        )
    if name == "cuda" and not _has_cuda():
        raise RuntimeError(
            "attention: backend 'cuda' is not in this build, there was no nvcc; put nvcc on PATH and "
            "run `python setup.py build_ext --inplace`"
        )
    if device != name:
        raise RuntimeError(
            f"attention: backend {backend!r} takes {name} tensors; q is on {q.device}"
        )
    if q.dtype not in KERNEL_DTYPES[name]:
        raise RuntimeError(
            f"attention: backend {backend!r} takes {KERNEL_DTYPES[name]}; q is {q.dtype}"
        )
    if name == "cuda" and q.shape[-1] > MOST_CUDA_HEAD_DIM:
        raise RuntimeError(
            f"attention: backend 'cuda' takes D up to {MOST_CUDA_HEAD_DIM}; D is {q.shape[-1]}"
        )
    if not wanted:
        return name, BEST
    level = LEVELS.index(wanted)
    if level not in _LEVELS_HERE:
        raise RuntimeError(
            f"attention: backend {backend!r} needs the instruction set {wanted}, which this CPU or build lacks; "
            f"here: {', '.join(LEVELS[i] for i in _LEVELS_HERE)}"
        )
    return name, level


def _has_cuda() -> bool:
    return _HAS_CUDA


def _fake_forward(q, k, v, row_start, scale, level):
    batch, length, heads, _ = q.shape
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    return out, q.new_empty((batch, heads, length), dtype=torch.float32)


def _fake_backward(grad_out, q, k, v, out, log_sum, row_start, scale, level):
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))


def _save(ctx, inputs, output) -> None:
    q, k, v, row_start, ctx.scale, ctx.level = inputs
    ctx.save_for_backward(q, k, v, row_start, *output)


def _backward(ctx, grad_out, _grad_log_sum):
    q, k, v, row_start, out, log_sum = ctx.saved_tensors
    grads = torch.ops.pytorch_ext.attention_backward(
        grad_out, q, k, v, out, log_sum, row_start, ctx.scale, ctx.level
    )
    return (*grads, None, None, None)


_HAS_CUDA = False
_LEVELS_HERE: tuple[int, ...] = ()
if library.LOADED:  # torch.compile must not meet these calls, so they are made once
    _HAS_CUDA = torch.ops.pytorch_ext.attention_has_cuda()
    _LEVELS_HERE = tuple(
        i for i in range(len(LEVELS)) if torch.ops.pytorch_ext.attention_level(i) == i
    )
    torch.library.register_fake("pytorch_ext::attention_forward", _fake_forward)
    torch.library.register_fake("pytorch_ext::attention_backward", _fake_backward)
    torch.library.register_autograd(
        "pytorch_ext::attention_forward", _backward, setup_context=_save
    )
