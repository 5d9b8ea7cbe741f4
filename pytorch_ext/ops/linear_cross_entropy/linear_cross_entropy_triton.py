"""Linear cross-entropy on a GPU: cuBLAS for the three products of a chunk of rows, and one Triton
kernel that turns the chunk's logits into losses and, in the same memory, into their gradient.

Logits are kept as the product gives them, in x's dtype; the kernel computes in float32. The
gradient of weight is summed in float32 inside the product. A chunk is at most an eighth of all
float32 logits, and small enough for the second-level cache, out of which the kernel and two
products read it again.

Rejected: a kernel of its own for the products. Logits that are never written have to be multiplied
again for each gradient, and at small vocabularies these products are most of the work.
"""

# mypy: disable-error-code="no-untyped-def"
import torch
import triton
import triton.language as tl

from pytorch_ext.ops.linear_cross_entropy.targets import share_of_a_row

CHUNK_BYTES = 32 << 20  # of the 50 MB of second-level cache that an H100 has
LEAST_ROWS = 128  # thinner products waste the machine
BLOCK, WARPS = 4096, 8


@triton.jit
def tanh(x):
    """(tanh(x), its slope), to a few units of float32: by e = exp(-2 |x|), and near zero, where
    1 - e cancels, by the series.
    """
    e = tl.exp(-2.0 * tl.abs(x))
    square = x * x
    rest = 2.0 / 15 + square * (-17.0 / 315 + square * (62.0 / 2835))
    near = x + x * square * (-1.0 / 3 + square * rest)
    far = (1.0 - e) / (1.0 + e)
    made = tl.where(square < 0.0625, near, tl.where(x < 0.0, -far, far))
    return made, 4.0 * e / ((1.0 + e) * (1.0 + e))


@triton.jit
def _read(place, there, softcap, CAPPED: tl.constexpr):
    """(logits, -inf where there are none; the slope of the cap)."""
    x = tl.load(place, mask=there, other=float("-inf")).to(tl.float32)
    slope = 1.0
    if CAPPED:
        bounded, slope = tanh(x / softcap)
        x = tl.where(there, softcap * bounded, float("-inf"))
    return x, slope


@triton.jit
def rows_kernel(
    logits, target, share, losses, vocabulary, row_stride, ignore_index, z_loss, softcap,
    CAPPED: tl.constexpr, GRADIENT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row: losses = log-sum-exp - picked + z log-sum-exp^2, and, where GRADIENT, the logits
    become share times the gradient, (1 + 2 z log-sum-exp) softmax - one-hot, by way of the cap.
    A row that is ignored isn't read.
    """
    row = tl.program_id(0).to(tl.int64)
    logits += row * row_stride
    picked = tl.load(target + row)
    columns = tl.arange(0, BLOCK)
    kind = logits.dtype.element_ty

    if picked == ignore_index:
        tl.store(losses + row, 0.0)
        if GRADIENT:
            for first in range(0, vocabulary, BLOCK):
                there = first + columns < vocabulary
                tl.store(logits + first + columns, tl.zeros((BLOCK,), kind), mask=there)
    else:
        # A target out of range is an error elsewhere, but reads nothing here.
        valid = (picked >= 0) & (picked < vocabulary)
        own = _read(logits + picked, valid, softcap, CAPPED)[0]
        tl.debug_barrier()  # every thread has it before one overwrites it

        most = float("-inf")
        total = 0.0
        for first in range(0, vocabulary, BLOCK):
            there = first + columns < vocabulary
            x = _read(logits + first + columns, there, softcap, CAPPED)[0]
            higher = tl.maximum(most, tl.max(x, axis=0))
            level = tl.where(higher == float("-inf"), 0.0, higher)  # -inf less -inf is NaN
            total = total * tl.exp(most - level) + tl.sum(tl.exp(x - level), axis=0)
            most = higher

        # Less the maximum, not less the log-sum: that would round a probability to the last bit of
        # a large logit.
        log_sum = tl.log(total) + most
        tl.store(losses + row, tl.log(total) - (own - most) + z_loss * log_sum * log_sum)
        if GRADIENT:
            counts = tl.load(share)
            scale = counts * (1.0 + 2.0 * z_loss * log_sum) / total
            for first in range(0, vocabulary, BLOCK):
                there = first + columns < vocabulary
                x, slope = _read(logits + first + columns, there, softcap, CAPPED)
                grad = tl.exp(x - most) * scale - tl.where(first + columns == picked, counts, 0.0)
                tl.store(logits + first + columns, (grad * slope).to(kind), mask=there)


def chunk_rows(rows: int, vocabulary: int, size: int) -> int:
    """Rows of logits, `size` bytes each number, that are made at once: of at most CHUNK_BYTES and
    an eighth of rows x vocabulary float32, but LEAST_ROWS.
    """
    most = min(CHUNK_BYTES, rows * vocabulary * 4 // 8) // max(vocabulary * size, 1)
    return max(LEAST_ROWS, most // LEAST_ROWS * LEAST_ROWS)


def losses_and_gradients(
    x: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    ignore_index: int,
    mean: bool,
    z_loss: float,
    softcap: float,
    wants_grad: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(loss, its gradient by x, by weight), these empty unless wanted; softcap 0 for none. Does not
    look whether targets are in range.
    """
    rows, vocabulary = x.shape[0], weight.shape[0]
    kept = target != ignore_index
    share = share_of_a_row(kept, mean, torch.float32)
    losses = torch.empty(rows, dtype=torch.float32, device=x.device)
    grad_x = x.new_empty(x.shape if wants_grad else 0)
    sums = torch.zeros(weight.shape if wants_grad else 0, dtype=torch.float32, device=x.device)
    step = chunk_rows(rows, vocabulary, x.element_size())
    for first in range(0, rows, step):
        chunk = slice(first, min(first + step, rows))
        part = x[chunk].where(kept[chunk, None], 0.0)  # zero times NaN would be NaN in a product
        logits = part @ weight.t()
        rows_kernel[(logits.shape[0],)](
            logits, target[chunk], share, losses[chunk], vocabulary, logits.stride(0),
            ignore_index, z_loss, softcap,
            CAPPED=softcap != 0.0, GRADIENT=wants_grad, BLOCK=BLOCK, num_warps=WARPS,
        )  # fmt: skip
        if wants_grad:
            torch.mm(logits, weight, out=grad_x[chunk])
            add_product(sums, logits, part)

    return losses.sum() * share, grad_x, sums.to(x.dtype)


def add_product(sums_VC: torch.Tensor, grad_NV: torch.Tensor, x_NC: torch.Tensor) -> None:
    """sums += grad^T x, in float32: inside the product where that takes float32 sums of halves."""
    if grad_NV.dtype == sums_VC.dtype:
        sums_VC.addmm_(grad_NV.t(), x_NC)
    elif sums_VC.device.type == "cpu":  # the interpreter
        sums_VC += grad_NV.t() @ x_NC
    else:
        torch.addmm(sums_VC, grad_NV.t(), x_NC, out_dtype=sums_VC.dtype, out=sums_VC)
