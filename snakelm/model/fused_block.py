"""A block of the decoder as one call, where a training step on a CPU takes it: forward is one
operator and backward another (pytorch_ext/ops/decoder_block), made of the same kernels in the same
order, so the bits are those of the block's own code.

That code is Python on one thread. In a default step it was a fifth of the time on two threads, and
the part that more threads do not shorten (docs/EXPERIMENTS.md). Everything unusual goes its way all
the same, since `fused_inputs` gives None for it: dropout, LoRA, autocast, GPUs, torch.compile,
torch.func, hooks on a part of the block, a backend that was asked for, Llama's shape.

In float32 the operator's products are our own (csrc/ops/products), with other last digits than
torch's in the block's own code, so it is taken only where they are known to be faster: on a CPU
with AVX2 and no AVX-512, which trains in float32 anyway.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytorch_ext import library
from pytorch_ext.dispatch import BEST, LEVELS, choose
from pytorch_ext.transforms import applied, below_autograd

from .working_copies import cached_copy, is_plain

if TYPE_CHECKING:
    from .decoder import Block

__all__ = ["fused", "fused_inputs"]

OPERATORS = ("attention", "qk_norm_rope", "rms_norm", "swiglu")
FLOAT32_PAYS = LEVELS[library.LEVELS_HERE[-1]] == "avx2" if library.LOADED else False
NAMES = (
    *("attention_norm", "attention.q_norm", "attention.k_norm", "mlp_norm"),
    *("attention.q", "attention.k", "attention.v", "attention.o", "mlp.gate", "mlp.up", "mlp.down"),
)
GAINS, MATRICES = 4, 7
PARAMETERS = GAINS + 2 * MATRICES  # the matrices, and their copies
Tensors = tuple[torch.Tensor, ...]


def fused_inputs(block: "Block", x_BTC: torch.Tensor, backend: str | None) -> Tensors | None:
    """The block's gains, its matrices, and the matrices' working copies, in the operator's order;
    None where the block is to run by its own code. ``backend``: of attention.
    """
    narrow = x_BTC.dtype == torch.bfloat16
    if (
        not (narrow or (FLOAT32_PAYS and x_BTC.dtype == torch.float32))
        or x_BTC.device.type != "cpu"
        or not torch.is_grad_enabled()
        or torch.is_autocast_enabled("cpu")
    ):
        return None
    attention, mlp = block.attention, block.mlp
    if not attention.qk_norm or _hooked(attention) or _hooked(mlp):
        return None
    requested, used = {"attention": backend}, (*OPERATORS, *(["weight_gradients"] * narrow))
    if any(choose(op, requested.get(op), "x", x_BTC) != ("cpu", BEST) for op in used):
        return None

    gains = (block.attention_norm, attention.q_norm, attention.k_norm, block.mlp_norm)  # as NAMES
    matrices = (attention.q, attention.k, attention.v, attention.o, mlp.gate, mlp.up, mlp.down)
    if not all(p.requires_grad and p.dtype == torch.float32 for p in (*gains, *matrices)):
        return None
    copies = [cached_copy(matrix, x_BTC.dtype) for matrix in matrices] if narrow else [*matrices]
    held = [copy for copy in copies if copy is not None and (narrow or is_plain(copy))]
    return (*gains, *matrices, *held) if len(held) == MATRICES else None


def fused(
    block: "Block",
    x_BTC: torch.Tensor,
    added_BTC: torch.Tensor | None,
    row_start_BT: torch.Tensor | None,
    cos_TD: torch.Tensor,
    sin_TD: torch.Tensor,
    inputs: Tensors,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `Block.forward` returns; ``inputs``: of `fused_inputs`."""
    made = applied(_FusedBlock, block, x_BTC, added_BTC, row_start_BT, cos_TD, sin_TD, *inputs)
    return made[0], made[1]


def _hooked(module: nn.Module) -> bool:
    """Whether somebody wants to be called when ``module`` runs."""
    return bool(
        torch.nn.modules.module._has_any_global_hook()
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


class _FusedBlock(torch.autograd.Function):
    """(block, x, added, row_start, cos, sin, gains, matrices, copies) → (the stream, what is to be
    added to it, x + added).

    The last output is only there so that backward has it with its derivative: kept as an output, it
    leads back to x and added, which need not be kept for a second derivative then. Without added
    there is none.
    """

    @staticmethod
    def forward(ctx: Any, block: "Block", x: Any, added: Any, *rest: Any) -> tuple[Any, ...]:
        row_start, cos, sin, *parameters = rest
        s2, out, s1, *kept = below_autograd(
            torch.ops.pytorch_ext.decoder_block_forward.default,
            *(x, added, row_start, cos, sin, parameters[:GAINS], parameters[-MATRICES:]),
            *(block.attention.head_dim, block.eps),
        )
        ctx.block = block
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(
            x if added is None else s1, s2, row_start, cos, sin, *parameters, *kept
        )
        return (s2, out) if added is None else (s2, out, s1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        s1, s2, row_start, cos, sin, *tensors = ctx.saved_tensors
        gains, matrices = tensors[:GAINS], tensors[GAINS : GAINS + MATRICES]
        grad_s2, grad_out = (s2.new_zeros(s2.shape) if g is None else g for g in grads[:2])
        settings = row_start, cos, sin

        if torch.is_grad_enabled():  # a second derivative: by the block's own code
            made = _pulled_back(ctx.block, settings, (s1, *gains, *matrices), (grad_s2, grad_out))
        else:
            copies, kept = tensors[GAINS + MATRICES : PARAMETERS], tensors[PARAMETERS:]
            made = below_autograd(
                torch.ops.pytorch_ext.decoder_block_backward.default,
                *(grad_s2, grad_out, [s1, *kept], s2, *settings, gains, copies),
                *(ctx.block.attention.head_dim, ctx.block.eps, len(grads) == 3),
            )

        grad_s1, *of_parameters = made
        if len(grads) == 2:
            of_added = None
        else:
            grad_s1 = of_added = grad_s1 if grads[2] is None else grad_s1 + grads[2]
        return None, grad_s1, of_added, None, None, None, *of_parameters, *(None,) * MATRICES


def _pulled_back(
    block: "Block", settings: Tensors, inputs: Tensors, grads: tuple[torch.Tensor, torch.Tensor]
) -> Tensors:
    """The gradients of ``inputs`` (x + added, gains, matrices) as a function of them and of
    ``grads``. By torch.func: torch.autograd.grad would walk on through x + added, which is the
    fused block's own output, and into its backward again.
    """

    def outputs(s1: torch.Tensor, *parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = dict(zip(NAMES, parameters, strict=True))
        made = torch.func.functional_call(block, state, (s1, None, *settings, None))
        return made[0], made[1]

    made: Tensors = torch.func.vjp(outputs, *inputs)[1](grads)
    return made
