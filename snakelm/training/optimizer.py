"""Muon for the matrices inside blocks, AdamW for the embedding, the head, the norms' gains and
LoRA's factors.

Muon (Keller Jordan, 2024): momentum, then the nearest semi-orthogonal matrix in place of the
gradient, by a Newton–Schulz iteration in bfloat16. Matrices of one shape go through it as one
batch: a batched product of twelve 256 × 256 matrices runs at the machine's rate where twelve single
ones don't.

AdamW is torch's fused one. No weight decay on embedding, head and gains.
"""

from collections.abc import Iterable

import torch
from torch import nn

from ..config import Train
from .lora import is_factor

__all__ = ["Muon", "Optimizer", "orthogonalize"]

# Quintic coefficients that make the slope at zero steep; the result's singular values land in about
# [0.7, 1.2].
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def orthogonalize(g_GMN: torch.Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> torch.Tensor:
    """U Vᵀ, roughly, of each matrix [M, N] = U S Vᵀ in the batch; in bfloat16, which is
    returned.
    """
    a, b, c = COEFFICIENTS
    tall = g_GMN.shape[1] > g_GMN.shape[2]
    x = g_GMN.bfloat16()
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) * 1.02 + 1e-7)
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


class Muon:
    """Momentum (Nesterov's) and orthogonalised updates of 2-d parameters, batched by shape."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.groups: dict[tuple[int, int], list[nn.Parameter]] = {}
        for p in parameters:
            self.groups.setdefault((p.shape[0], p.shape[1]), []).append(p)
        self.momentum_GMN = {
            shape: torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in self.groups.items()
        }

    @torch.no_grad()
    def step(self, lr: float, momentum: float, weight_decay: float) -> None:
        """One update from each parameter's .grad; ``lr`` is a step's spectral norm for a square
        matrix.
        """
        for (rows, columns), group in self.groups.items():
            g_GMN = torch.stack([p.grad for p in group])
            buffer = self.momentum_GMN[rows, columns]
            buffer.lerp_(g_GMN, 1 - momentum)
            update = orthogonalize(g_GMN.lerp_(buffer, momentum))
            scale = max(1.0, rows / columns) ** 0.5  # a tall matrix's output keeps its size
            for p, u in zip(group, update.unbind(), strict=True):
                if weight_decay:
                    p.mul_(1 - lr * weight_decay)
                p.add_(u, alpha=-lr * scale)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Momentum by shape, `"256x768"`."""
        return {f"{m}x{n}": buffer.clone() for (m, n), buffer in self.momentum_GMN.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """The reverse; KeyError or RuntimeError when the shapes are others."""
        for (m, n), buffer in self.momentum_GMN.items():
            buffer.copy_(state[f"{m}x{n}"])


class Optimizer:
    """Both, over a Decoder's parameters that want gradients, with learning rates that follow
    train.schedule.
    """

    def __init__(self, model: nn.Module, train: Train) -> None:
        self.train = train
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        inside = {
            name: p for name, p in named.items() if p.ndim == 2 and name.startswith("layers.")
        }
        matrices = [p for name, p in inside.items() if not is_factor(name)]
        self.muon = Muon(matrices)
        tables = {"embedding": train.embedding_lr, "head": train.head_lr}
        groups = [
            {"params": [named[name]], "lr": lr} for name, lr in tables.items() if name in named
        ]
        groups.append({"params": [p for p in named.values() if p.ndim == 1], "lr": train.scalar_lr})
        factors = [p for name, p in inside.items() if is_factor(name)]
        groups += [{"params": factors, "lr": train.lr}] if factors else []
        self.peaks = [group["lr"] for group in groups]
        # eps: embedding rows are seen rarely and their gradients are tiny
        self.adamw = torch.optim.AdamW(
            groups, betas=(train.beta1, train.beta2), eps=1e-10, weight_decay=0.0, fused=True
        )
        self.parameters = [*matrices, *(p for group in groups for p in group["params"])]

    def step(self, lr_factor: float, momentum: float) -> None:
        """One update of everything from .grad, which is then dropped."""
        for group, peak in zip(self.adamw.param_groups, self.peaks, strict=True):
            group["lr"] = peak * lr_factor
        self.adamw.step()
        self.muon.step(self.train.lr * lr_factor, momentum, self.train.weight_decay)
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Forgets every .grad."""
        for p in self.parameters:
            p.grad = None

    def state_dict(self) -> dict:
        """Plain types and tensors."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """The reverse."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
