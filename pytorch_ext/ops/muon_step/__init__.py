"""A step of Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) for matrices of
one shape: `muon_step(parameters, gradients, momentum, ...)`.

Backends (pytorch_ext/dispatch.py says which is the default where):
    cpu        csrc/ops/muon_step: a core has a matrix from gradient and momentum, which it makes
               one bfloat16 matrix of, over the orthogonalisation to the weights and their bfloat16
               copies.
    reference  plain torch around pytorch_ext.orthogonalize, any device and dtype.
"""

from collections.abc import Sequence

import torch

from pytorch_ext.arguments import check_dense, check_like, check_list, check_number
from pytorch_ext.dispatch import Placeholder, choose
from pytorch_ext.ops.muon_step.native import muon_step_native
from pytorch_ext.ops.muon_step.reference import muon_step_reference


def muon_step(
    parameters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    momentum_GMN: torch.Tensor,
    *,
    rate: float,
    momentum: float,
    decay: float = 0.0,
    gradient_scale: float = 1.0,
    copies: Sequence[torch.Tensor | None] | None = None,
    backend: str | None = None,
) -> None:
    """In place, for G parameters [M, N] with their gradients g:

        m ← m + (1 - momentum) (s g - m)             momentum_GMN [G, M, N]; s = gradient_scale
        x = s g + momentum (m - s g)                 Nesterov's, in bfloat16
        p ← (1 - decay) p - rate orthogonalize(x)

    copies: of each parameter in bfloat16, written too; None: there is none. What is written must be
    contiguous. Torch's version counters don't see the writes of the compiled backend.

    Raises ValueError when lists or shapes don't fit, TypeError for what is no tensor or number,
    RuntimeError for a backend that is missing here or doesn't take such tensors.
    """
    check_list("muon_step", "parameters", parameters)
    shape = parameters[0].shape
    if len(shape) != 2 or any(p.shape != shape for p in parameters):
        raise ValueError(
            f"muon_step: parameters are {[list(p.shape) for p in parameters]}; "
            "matrices of one shape expected"
        )
    check_like("muon_step", "gradients", gradients, parameters)
    check_like("muon_step", "momentum_GMN", momentum_GMN.unbind(), parameters)
    copies = [None] * len(parameters) if copies is None else copies
    check_like("muon_step", "copies", copies, parameters, torch.bfloat16)
    for name, value in (("rate", rate), ("momentum", momentum), ("decay", decay)):
        check_number("muon_step", name, value)
    check_number("muon_step", "gradient_scale", gradient_scale)
    check_dense("muon_step", parameters=parameters, momentum_GMN=[momentum_GMN], copies=copies)

    name, level = choose("muon_step", backend, "parameters[0]", parameters[0])
    update = Placeholder(parameters[0].device, torch.bfloat16)  # what is orthogonalised
    between, between_level = choose("orthogonalize", None, "x", update)
    with torch.no_grad():
        numbers = rate, momentum, decay, gradient_scale
        if name == "reference" or between == "reference":
            muon_step_reference(parameters, gradients, momentum_GMN, copies, *numbers)
            return
        muon_step_native(
            *(parameters, gradients, momentum_GMN, copies, *numbers, level, between_level)
        )
