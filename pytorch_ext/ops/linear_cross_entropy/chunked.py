"""Linear cross-entropy by torch's own operators, a chunk of rows at a time: any device and dtype.

The logits of a chunk are turned into its loss and, at once, into the gradients of x and weight; the
next chunk uses the same memory. So backward only scales what forward left. The gradient of weight
is summed over chunks in at least float32, whatever the dtype: thousands of bfloat16 additions would
lose its last bits.

Rejected: saving the log-sum-exp and multiplying the logits again in backward. It costs a third
product of the size of the head, and the two gradients have to be written anyway. (The compiled
kernel does just that: its logits never leave the cache, which pays for it.)
"""

from typing import Any

import torch

from pytorch_ext.ops.linear_cross_entropy.reference import linear_cross_entropy_reference
from pytorch_ext.ops.linear_cross_entropy.targets import check_range, share_of_a_row
from pytorch_ext.transforms import compiling, one_by_one, second_order, under_torch_func

# Of float32 logits: in a cache, or nearly, and large enough for products at full speed.
CHUNK_BYTES = 8 << 20


def linear_cross_entropy_chunked(
    x: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    ignore_index: int,
    mean: bool,
    z_loss: float,
    softcap: float,
    triton: bool = False,
) -> torch.Tensor:
    """See the package; weight of x's dtype, softcap 0 for none. triton: by the kernel of
    linear_cross_entropy_triton.py between the products.
    """
    # A tensor under torch.func may be differentiated by a level that its flag doesn't know of.
    needed = x.requires_grad or weight.requires_grad or under_torch_func()
    loss = _chunked if compiling() else LinearCrossEntropy.apply
    wants_grad = torch.is_grad_enabled() and needed
    return loss(x, weight, target, ignore_index, mean, z_loss, softcap, wants_grad, triton)[0]


def chunk_rows(vocabulary: int) -> int:
    """Rows whose logits fit in CHUNK_BYTES, a multiple of 16 and at least that: thinner products
    waste the machine.
    """
    return max(16, CHUNK_BYTES // (4 * vocabulary) // 16 * 16)


@torch.library.custom_op("pytorch_ext::linear_cross_entropy", mutates_args=())
def _chunked(
    x: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    ignore_index: int,
    mean: bool,
    z_loss: float,
    softcap: float,
    wants_grad: bool,
    triton: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(loss, its gradient by x, by weight); the gradients are empty unless wanted."""
    check_range(target, target != ignore_index, weight.shape[0])
    inputs = (x, weight, target, ignore_index, mean, z_loss, softcap, wants_grad)
    if not triton:
        return _by_torch(*inputs)

    # Here, since it imports triton.
    from pytorch_ext.ops.linear_cross_entropy import linear_cross_entropy_triton as by_triton

    with torch.cuda.device_of(x):
        return by_triton.losses_and_gradients(*inputs)


def _by_torch(
    x: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    ignore_index: int,
    mean: bool,
    z_loss: float,
    softcap: float,
    wants_grad: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, vocabulary = x.shape[0], weight.shape[0]
    wide = torch.promote_types(x.dtype, torch.float32)
    kept = target != ignore_index
    target = target.where(kept, 0)

    share = share_of_a_row(kept, mean, wide)
    row_share = kept * share  # [N]: what each row's loss counts for

    total = torch.zeros((), dtype=wide, device=x.device)
    grad_x = (
        torch.empty_like(x, memory_format=torch.contiguous_format) if wants_grad else x.new_empty(0)
    )
    grad_weight = torch.zeros_like(weight, dtype=wide) if wants_grad else x.new_empty(0)

    step = chunk_rows(vocabulary)
    for first in range(0, rows, step):
        chunk = slice(first, min(first + step, rows))
        logits = (x[chunk] @ weight.t()).to(wide)  # [rows of the chunk, V]
        if softcap:
            logits.div_(softcap).tanh_().mul_(softcap)
            slope = 1 - (logits / softcap).square()
        # Less the maximum, not less the log-sum: that would round a probability to the last bit of
        # a large logit.
        most = logits.amax(dim=1, keepdim=True)
        logits.sub_(most)
        picked = logits.gather(1, target[chunk, None])
        grad = logits.exp_()  # in place: the same memory becomes the gradient of the logits
        sums = grad.sum(dim=1, keepdim=True)
        log_sum = sums.log() + most
        losses = sums.log() - picked
        if z_loss:  # not a product by zero: the square may be infinite
            losses = losses + z_loss * log_sum.square()
        # where, not a product: the row of an ignored target may be infinite
        total += torch.where(kept[chunk], losses[:, 0], 0.0).sum()
        if not wants_grad:
            continue

        # d loss / d logits = softmax (1 + 2 z log-sum) - one-hot, times what the row counts for.
        counts = row_share[chunk, None]
        slant = torch.where(kept[chunk, None], 1 + 2 * z_loss * log_sum, 0.0) if z_loss else 1.0
        grad.mul_(counts * slant / sums)
        grad.scatter_add_(1, target[chunk, None], -counts)
        if softcap:
            grad.mul_(slope)
        grad = grad.to(x.dtype)
        torch.mm(grad, weight, out=grad_x[chunk])
        grad_weight += grad.t() @ x[chunk]

    return total * share, grad_x, grad_weight.to(x.dtype)


@_chunked.register_fake
def _(x, weight, target, ignore_index, mean, z_loss, softcap, wants_grad, triton=False):
    wide = torch.promote_types(x.dtype, torch.float32)
    if not wants_grad:
        return x.new_empty((), dtype=wide), x.new_empty(0), x.new_empty(0)
    return x.new_empty((), dtype=wide), x.new_empty(x.shape), weight.new_empty(weight.shape)


class LinearCrossEntropy(torch.autograd.Function):
    """_chunked, whose arguments and results these are; its gradients are for backward alone."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[torch.Tensor, ...]:
        """The loss, and what backward scales."""
        return _chunked(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        """x and weight are kept for the second derivative: references, where nothing was cast."""
        x, weight, target, *ctx.settings, ctx.wants_grad, _ = inputs
        ctx.save_for_backward(x, weight, target, *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """What forward left, times the gradient of the loss."""
        if grads[0] is None:
            return (None,) * 9
        if not ctx.wants_grad:
            raise RuntimeError(
                "linear_cross_entropy: backward of a forward that ran without gradients"
            )
        inputs = (grads[0], *ctx.saved_tensors, *ctx.settings)
        if torch.is_grad_enabled():
            return (*LinearCrossEntropyGradients.apply(*inputs), *(None,) * 7)
        return (*LinearCrossEntropyGradients.forward(*inputs), *(None,) * 7)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, ...]:
        """One call after the other: every one has a weight of its own."""
        return one_by_one(LinearCrossEntropy, info.batch_size, in_dims, inputs)


class LinearCrossEntropyGradients(torch.autograd.Function):
    """(grad_loss, x, weight, target, grad_x, grad_weight, ignore_index, mean, z_loss, softcap) ->
    what forward left as gradients of x and weight, times grad_loss.
    """

    @staticmethod
    def forward(*inputs: Any) -> tuple[torch.Tensor, ...]:
        """No product but by a scalar."""
        grad_loss, _, _, _, grad_x, grad_weight, *_ = inputs
        share = grad_loss.to(grad_x.dtype)
        return grad_x * share, grad_weight * share

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        """grad_x and grad_weight are functions of x and weight, whose derivatives count them in."""
        grad_loss, x, weight, target, _, _, *ctx.settings = inputs
        ctx.save_for_backward(grad_loss, x, weight, target)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """By the reference, which holds all N x V logits."""
        grad_loss, x, weight, target = ctx.saved_tensors

        def forward(x, weight):
            return linear_cross_entropy_reference(x, weight, target, *ctx.settings)

        return (*second_order(forward, (x, weight), grad_loss, cotangents), *(None,) * 7)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, ...]:
        """As LinearCrossEntropy's."""
        return one_by_one(LinearCrossEntropyGradients, info.batch_size, in_dims, inputs)


_chunked.register_autograd(
    LinearCrossEntropy.backward, setup_context=LinearCrossEntropy.setup_context
)
