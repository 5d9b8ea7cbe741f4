"""DPO and KTO against the papers' formulas, written out in float64 without torch."""

import math

import pytest
import torch

from snakelm.config import Preferences
from snakelm.training.preference_losses import loss_of

BETA = 0.3
POLICY = [-3.0, -7.5, -20.25, -11.0, -0.5, -2.0]
REFERENCE = [-4.0, -7.0, -19.0, -30.0, -0.5, -1.0]
WANTED = [True, False] * 3
DRIFTS = [-2.0, 0.0, 1.75]


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def dpo(policy, smoothing=0.0):
    """Rafailov et al. 2023, eq. 7, of each pair; with Mitchell's label smoothing."""
    losses = []
    for good, bad in zip(range(0, len(policy), 2), range(1, len(policy), 2), strict=True):
        inside = BETA * (policy[good] - REFERENCE[good])
        inside -= BETA * (policy[bad] - REFERENCE[bad])
        losses.append(
            -(1 - smoothing) * math.log(sigmoid(inside)) - smoothing * math.log(sigmoid(-inside))
        )
    return losses


def kto(policy, drift, desirable, undesirable):
    """Ethayarajh et al. 2024, eq. 8: lambda_y - v(x, y), of each answer."""
    z0, losses = max(0.0, drift), []
    for log_prob, reference, wanted in zip(policy, REFERENCE, WANTED, strict=True):
        reward = log_prob - reference
        if wanted:
            losses.append(desirable - desirable * sigmoid(BETA * (reward - z0)))
        else:
            losses.append(undesirable - undesirable * sigmoid(BETA * (z0 - reward)))
    return losses


def ours(policy, drift=0.0, **keys):
    """The losses and the gradient of their sum."""
    leaf = torch.tensor(policy, dtype=torch.float64, requires_grad=True)
    loss = loss_of(Preferences(beta=BETA, **keys))
    ratios = leaf - torch.tensor(REFERENCE, dtype=torch.float64)
    wanted, moved = torch.tensor(WANTED), torch.tensor(drift, dtype=torch.float64)
    losses = loss.losses(ratios, wanted, moved)
    losses.sum().backward()
    return losses.tolist(), leaf.grad.tolist()


def slopes(function):
    """Central differences of the summed losses by each log-probability."""
    step, found = 1e-5, []
    for i in range(len(POLICY)):
        up, down = list(POLICY), list(POLICY)
        up[i] += step
        down[i] -= step
        found.append((sum(function(up)) - sum(function(down))) / (2 * step))
    return found


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_dpo(smoothing):
    losses, gradient = ours(POLICY, label_smoothing=smoothing)
    assert losses == pytest.approx(dpo(POLICY, smoothing), rel=1e-12)
    assert gradient == pytest.approx(slopes(lambda p: dpo(p, smoothing)), abs=1e-8)


@pytest.mark.parametrize("drift", DRIFTS)
def test_kto(drift):
    weights = {"desirable_weight": 1.5, "undesirable_weight": 0.75}
    losses, gradient = ours(POLICY, drift, loss="kto", **weights)
    expected = lambda p: kto(p, drift, 1.5, 0.75)  # noqa: E731
    assert losses == pytest.approx(expected(POLICY), rel=1e-12)
    assert gradient == pytest.approx(slopes(expected), abs=1e-8)


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_before_the_first_step_no_reward_is_on_a_side(loss):
    """However many labels say no: it isn't the share of those."""
    chosen = loss_of(Preferences(beta=BETA, loss=loss))
    wanted, still = torch.tensor([True, False, False, False]), torch.zeros(4)
    assert not chosen.is_right(still, wanted, torch.tensor(0.0)).any()
    moved = torch.tensor([1.0, -1.0, -1.0, -1.0])
    assert chosen.is_right(moved, wanted, torch.tensor(0.0))[0]


def test_kto_counts_both_sides_of_what_the_model_drifted_by():
    loss = loss_of(Preferences(beta=BETA, loss="kto"))
    ratios, wanted = torch.tensor([3.0, 1.0, 1.0, 3.0]), torch.tensor([True, True, False, False])
    assert loss.is_right(ratios, wanted, torch.tensor(2.0)).tolist() == [True, False, True, False]


def test_no_difference_costs_what_a_coin_does():
    start = list(REFERENCE)
    assert ours(start)[0] == pytest.approx([math.log(2)] * 3)
    assert ours(start, loss="kto")[0] == pytest.approx([0.5] * 6)


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_far_away_nothing_overflows(loss):
    losses, gradient = ours([-1e4, -1.0, -1.0, -1e4, -1.0, -1.0], loss=loss)
    assert all(map(math.isfinite, losses + gradient))
