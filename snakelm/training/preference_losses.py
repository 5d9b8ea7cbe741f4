"""DPO and KTO: what a model loses by how likely it finds wanted and unwanted answers, against the
model that it started from.

The reward of answer y to prompt x is beta times log pi(y|x) - log pi_ref(y|x), pi_ref being that
model.

    DPO   -log sigmoid(r_chosen - r_rejected) of each pair (Rafailov et al. 2023, arXiv:2305.18290,
          eq. 7). With label smoothing e, (1 - e) of that and e of the same with the sides changed
          (Mitchell's conservative DPO).
    KTO   w (1 - sigmoid(r - z)) of a wanted answer, w (1 - sigmoid(z - r)) of an unwanted one
          (Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8). z is beta times an estimate of how far
          the model has gone from pi_ref at all: the mean of log pi(y'|x) - log pi_ref(y'|x) where
          y' is an answer to another prompt, at least 0, and no gradient goes through it.

Legend: P pairs, N answers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..config import Preferences

__all__ = ["Loss", "loss_of"]


@dataclass(frozen=True)
class Dpo:
    """Of pairs: chosen and rejected answers in turn, [2P]."""

    beta: float
    label_smoothing: float

    def losses(
        self, log_ratios: torch.Tensor, wanted: torch.Tensor, drift: torch.Tensor
    ) -> torch.Tensor:
        """[P], from log pi - log pi_ref of the answers [2P]; the others aren't needed."""
        margin_P = self.beta * (log_ratios[0::2] - log_ratios[1::2])
        right_P, reversed_P = F.logsigmoid(margin_P), F.logsigmoid(-margin_P)
        return -(1 - self.label_smoothing) * right_P - self.label_smoothing * reversed_P

    def is_right(
        self, log_ratios: torch.Tensor, wanted: torch.Tensor, drift: torch.Tensor
    ) -> torch.Tensor:
        """Whether the chosen side has the larger reward: bool [P]."""
        return log_ratios[0::2] > log_ratios[1::2]


@dataclass(frozen=True)
class Kto:
    """Of answers [N], each ``wanted`` or not (bool [N])."""

    beta: float
    desirable_weight: float
    undesirable_weight: float

    def losses(
        self, log_ratios: torch.Tensor, wanted: torch.Tensor, drift: torch.Tensor
    ) -> torch.Tensor:
        """[N]; ``drift``: the mean log ratio of answers to other prompts, a scalar."""
        ahead_N = self.beta * (log_ratios - drift.clamp(min=0).detach())
        good_N = self.desirable_weight * torch.sigmoid(-ahead_N)
        return torch.where(wanted, good_N, self.undesirable_weight * torch.sigmoid(ahead_N))

    def is_right(
        self, log_ratios: torch.Tensor, wanted: torch.Tensor, drift: torch.Tensor
    ) -> torch.Tensor:
        """Whether the reward is on the label's side of z: bool [N]. On z itself, where all are
        before the first step, it is on neither.
        """
        z = drift.clamp(min=0)
        return torch.where(wanted, log_ratios > z, log_ratios < z)


Loss = Dpo | Kto


def loss_of(preferences: Preferences) -> Loss:
    """The loss that the configuration names."""
    if preferences.loss == "dpo":
        return Dpo(preferences.beta, preferences.label_smoothing)
    return Kto(preferences.beta, preferences.desirable_weight, preferences.undesirable_weight)
