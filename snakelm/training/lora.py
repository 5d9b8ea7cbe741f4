"""LoRA: the matrices inside blocks stay as they are and learn low-rank updates, which are folded in
at the end.

W + (alpha / rank) B A, with A random and B zero, so that the first step starts from the base model
exactly (Hu et al., 2021, arXiv:2106.09685). Each W is a torch parametrization: the network reads
W + … where it reads W, knows nothing of it, and what is folded in is what it computed with, to the
last bit. Multiplying B A out costs rank / tokens of the product with W.
"""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

from ..config import Preferences, Sft
from ..model import Decoder

__all__ = ["adapt", "fold", "in_words", "is_factor", "without_effect"]


def in_words(keys: Sft | Preferences, section: str) -> str | None:
    """The line at the start of a run with low-rank updates: what learns, and at which rate; None
    without them. ``section``: of the configuration, where ``keys`` are from.
    """
    if not keys.lora_rank:
        return None
    return (
        f"low-rank updates of rank {keys.lora_rank} learn at {section}.lora_lr {keys.lora_lr:g}, "
        f"everything else stays as it is; {section}.lr and the other rates are not read"
    )


def without_effect(keys: Sft | Preferences, section: str) -> Iterator[str]:
    """A warning for each of ``keys`` that no preset sets, was set, and has no effect here."""
    if keys.lora_rank and keys.weight_decay:
        yield (
            f"{section}.weight_decay {keys.weight_decay:g}: of no effect, low-rank updates "
            f"({section}.lora_rank {keys.lora_rank}) are not decayed"
        )
    for name in () if keys.lora_rank else ("lora_alpha", "lora_lr"):
        value = getattr(keys, name)
        if value != type(keys).model_fields[name].default:
            yield (
                f"{section}.{name} {value:g}: of no effect, all weights are trained "
                f"({section}.lora_rank 0)"
            )


class LowRank(nn.Module):
    """W → W + scale · B A, W [outputs, inputs], B [outputs, rank], A [rank, inputs]; float32."""

    def __init__(
        self, outputs: int, inputs: int, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale
        self.a = nn.Parameter(torch.randn(rank, inputs, generator=generator) / inputs**0.5)
        self.b = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The updated matrix [outputs, inputs]."""
        return torch.addmm(weight, self.b, self.a, alpha=self.scale)


def is_factor(name: str) -> bool:
    """Whether the parameter of this name is an A or a B."""
    return ".parametrizations." in name and name.endswith((".a", ".b"))


def adapt(model: Decoder, rank: int, alpha: float, generator: torch.Generator) -> None:
    """Freezes the model and gives each matrix inside its blocks an update of ``rank``, on the
    CPU.
    """
    model.requires_grad_(False)
    for module, name in _matrices(model):
        outputs, inputs = getattr(module, name).shape
        possible = min(rank, outputs, inputs)  # a small matrix has no higher rank
        update = LowRank(outputs, inputs, possible, alpha / rank, generator)
        parametrize.register_parametrization(module, name, update)


def fold(model: Decoder) -> None:
    """Makes each updated matrix a plain one again, of the value it was computed with."""
    for module in model.modules():
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _matrices(model: Decoder) -> list[tuple[nn.Module, str]]:
    """Each matrix inside the blocks, as its module and its name there."""
    matrices = []
    for layer in model.layers:
        for part in (layer.get_submodule("attention"), layer.get_submodule("mlp")):
            names = [name for name, p in part.named_parameters(recurse=False) if p.ndim == 2]
            matrices += [(part, name) for name in names]
    return matrices
