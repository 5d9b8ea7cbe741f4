"""SwiGLU's gate by Triton kernels: one read of each input, one write of each output.

Dense tensors are one long row. Others, as the halves of a fused projection, are cut row by row. The
sigmoid is computed again in backward: that is cheaper than reading it.
"""

# mypy: disable-error-code="no-untyped-def"
import torch
import triton
import triton.language as tl

from pytorch_ext.native import contiguous_like
from pytorch_ext.triton_rows import as_rows

BLOCK = 1024  # numbers of a thread block of four warps: 8 a thread, 16 bytes of bfloat16
WARPS = 4


@triton.jit
def sigmoid(x):
    """(sigmoid(x), one minus it), neither by a difference: of e = exp(-|x|), which can't overflow,
    1 / (1 + e) is the larger, e / (1 + e) the smaller.
    """
    e = tl.exp(-tl.abs(x))
    large = 1.0 / (1.0 + e)
    small = e * large
    return tl.where(x >= 0, large, small), tl.where(x >= 0, small, large)


@triton.jit
def forward_kernel(gate, up, out, width, gate_row, up_row, BLOCK: tl.constexpr):
    """out[i, :] = silu(gate[i, :]) * up[i, :]; a program has one row's block of columns."""
    blocks = tl.cdiv(width, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    column = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = column < width

    g = tl.load(gate + row * gate_row + column, mask=there).to(tl.float32)
    u = tl.load(up + row * up_row + column, mask=there).to(tl.float32)
    open_, _ = sigmoid(g)
    tl.store(out + row * width + column, (g * open_ * u).to(out.dtype.element_ty), mask=there)


@triton.jit
def backward_kernel(
    grad, gate, up, grad_gate, grad_up, width, grad_row, gate_row, up_row, BLOCK: tl.constexpr
):
    """Gradients of both inputs, by d silu(g) / dg = s (1 + g (1 - s)), s the sigmoid of g."""
    blocks = tl.cdiv(width, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    column = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = column < width

    d = tl.load(grad + row * grad_row + column, mask=there).to(tl.float32)
    g = tl.load(gate + row * gate_row + column, mask=there).to(tl.float32)
    u = tl.load(up + row * up_row + column, mask=there).to(tl.float32)
    open_, shut = sigmoid(g)
    slope = open_ * (1.0 + g * shut)
    to = row * width + column
    tl.store(grad_gate + to, (d * u * slope).to(grad_gate.dtype.element_ty), mask=there)
    tl.store(grad_up + to, (d * (g * open_)).to(grad_up.dtype.element_ty), mask=there)


def swiglu_forward(gate: torch.Tensor, up: torch.Tensor, level: int) -> torch.Tensor:
    """silu(gate) * up."""
    out = contiguous_like(gate)
    _launch(forward_kernel, (gate, up), (out,))
    return out


def swiglu_backward(
    grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, level: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(gradient of gate, of up)."""
    made = contiguous_like(gate), contiguous_like(up)
    _launch(backward_kernel, (grad, gate, up), made)
    return made


def _launch(kernel, inputs: tuple[torch.Tensor, ...], outputs: tuple[torch.Tensor, ...]) -> None:
    if not outputs[0].numel():
        return
    if all(x.is_contiguous() for x in inputs):
        rows = [x.view(1, -1) for x in inputs]
    else:
        rows = [as_rows(x) for x in inputs]

    count, width = rows[0].shape
    grid = (count * triton.cdiv(width, BLOCK),)
    strides = (x.stride(0) for x in rows)
    kernel[grid](*rows, *outputs, width, *strides, BLOCK=BLOCK, num_warps=WARPS)
