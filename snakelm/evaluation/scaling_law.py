"""The law of a run's own curve: L(D) = E + A · D^-a, fitted to loss L over training tokens D, with
its error.

For a given a the law is linear in E and A, so a is searched on grids, each finer, and the other two
are solved for, neither below 0. The error comes from a bootstrap of the residuals in blocks:
neighbouring points of a curve err together, and drawing them one by one would promise too much.

It is the law of this run's schedule, not of the data: a falling learning rate bends the curve down
by itself, and a run of another length would have bent elsewhere. And the power is not told from the
floor E by a short curve: where the interval of E reaches from 0 to nearly the last loss, that is
what it says.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Law", "NoLaw", "fit"]

FEWEST = 8  # points for three unknowns and an error
SPAN = 4.0  # the last point's tokens over the first's: less is no curve
DRAWS = 400
POWERS = np.geomspace(0.02, 2.0, 60)
LEVELS = 4  # of a grid ten times as fine each
TINY = 1e-300


class NoLaw(Exception):
    """Why a curve can't be fitted, for a person."""


@dataclass(frozen=True)
class Law:
    """The fit; ``low`` and ``high`` hold 95% bounds of floor, scale and power."""

    floor: float  # E, the loss that is left however long training goes on
    scale: float  # A
    power: float  # a
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    residual: float  # root of the mean square, in the loss's unit
    draws: np.ndarray  # [draws, 3]

    def at(self, tokens: np.ndarray) -> np.ndarray:
        """The fitted loss after ``tokens``."""
        return self.floor + self.scale * np.asarray(tokens, np.float64) ** -self.power

    def band(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The 95% bounds of the fitted loss after ``tokens`` [n]."""
        floor, scale, power = self.draws.T[:, :, None]
        losses = floor + scale * np.asarray(tokens, np.float64)[None, :] ** -power
        return np.quantile(losses, 0.025, axis=0), np.quantile(losses, 0.975, axis=0)

    def as_dict(self) -> dict[str, Any]:
        names = ("floor", "scale", "power")
        values = {
            n: {"value": getattr(self, n), "low": lo, "high": hi}
            for n, lo, hi in zip(names, self.low, self.high, strict=True)
        }
        return {**values, "residual": self.residual}


def fit(tokens: np.ndarray, losses: np.ndarray, seed: int) -> Law:
    """The law of a curve, ``tokens`` (ascending) and ``losses`` [points]; NoLaw with the reason
    where there is none.
    """
    tokens, losses = np.asarray(tokens, np.float64), np.asarray(losses, np.float64)
    _check(tokens, losses)
    unit = float(tokens[-1])  # so that the scale is of the loss's size while it is searched
    found = _solve(tokens / unit, losses)
    if found[1] <= 0:
        raise NoLaw("the loss does not fall over the run, so there is nothing to extrapolate")
    if not POWERS[0] < found[2] < POWERS[-1]:
        raise NoLaw(
            f"the curve is no power of the tokens (the best power lies beyond {POWERS[0]:g} to {POWERS[-1]:g})"
        )
    fitted = _law(found, tokens / unit)
    draws = _bootstrap(tokens / unit, fitted, losses - fitted, np.random.default_rng(seed))
    draws[:, 1] *= unit ** draws[:, 2]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    residual = float(np.sqrt(np.mean((losses - fitted) ** 2)))
    scale = found[1] * unit ** found[2]
    return Law(
        found[0], scale, found[2], tuple(map(float, low)), tuple(map(float, high)), residual, draws
    )


def _check(tokens: np.ndarray, losses: np.ndarray) -> None:
    if tokens.size < FEWEST:
        raise NoLaw(f"{tokens.size} points, and three unknowns with their error need {FEWEST}")
    assert (np.diff(tokens) > 0).all(), "a curve goes forward"
    if tokens[-1] < SPAN * tokens[0]:
        raise NoLaw(
            f"the points span a factor of {tokens[-1] / tokens[0]:.1f} in tokens; a law needs {SPAN:g}"
        )
    if not np.isfinite(losses).all():
        raise NoLaw("some losses are no numbers")


def _law(found: tuple[float, float, float], tokens: np.ndarray) -> np.ndarray:
    return found[0] + found[1] * tokens ** -found[2]


def _solve(tokens: np.ndarray, losses: np.ndarray) -> tuple[float, float, float]:
    """(E, A, a) of least squares."""
    powers = POWERS
    for level in range(LEVELS + 1):
        floors, scales, errors = _linear(tokens, losses, powers)
        best = int(np.argmin(errors))
        if level < LEVELS:  # the error has one valley between the neighbours of the grid's best
            powers = np.linspace(
                powers[max(0, best - 1)], powers[min(powers.size - 1, best + 1)], 21
            )
    return float(floors[best]), float(scales[best]), float(powers[best])


def _linear(
    tokens: np.ndarray, losses: np.ndarray, powers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E, A and the squared error, each [powers]; where E would be negative it is 0."""
    x = tokens[None, :] ** -powers[:, None]
    deviations = x - x.mean(axis=1, keepdims=True)
    mean = losses.mean()
    scales = deviations @ (losses - mean) / np.maximum((deviations**2).sum(axis=1), TINY)
    floors = mean - scales * x.mean(axis=1)
    below = floors < 0
    floors[below] = 0.0
    scales[below] = (x[below] @ losses) / (x[below] ** 2).sum(axis=1)
    return floors, scales, ((losses - floors[:, None] - scales[:, None] * x) ** 2).sum(axis=1)


def _bootstrap(
    tokens: np.ndarray, fitted: np.ndarray, residuals: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """(E, A, a) [draws, 3] of curves made of the fit and of blocks of its residuals."""
    n = residuals.size
    block = max(1, round(n ** (1 / 3)))
    found = np.empty((DRAWS, 3))
    for i in range(DRAWS):
        starts = generator.integers(0, n, -(-n // block))
        places = ((starts[:, None] + np.arange(block)) % n).ravel()[:n]
        found[i] = _solve(tokens, fitted + residuals[places])
    return found
