"""The scaling law of a run's own curves: L(D) = E + A · D^-a, fitted to the loss L after D training
tokens, with its error.

The form is that of Hoffmann et al., Training Compute-Optimal Large Language Models (2022), eq. 2,
for one model size. It is fitted to the held-out text, and to the training loss where that is fair:
a run has few evaluations and many training losses, and as long as no text comes a second time, the
loss on the next batch is the loss on text never seen. Beyond one epoch it isn't, and is cut there.

It is the law of this run's schedule, not of the data: a falling learning rate bends the curve down
by itself, and a run of another length would have bent elsewhere. And a short curve cannot tell the
power from the floor E: then the interval of E reaches from 0 to nearly the last loss, which says
just that.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.optimize import minimize_scalar

from ..training.metrics import Metrics, read_metrics
from .loss_record import (
    FittedLaw,
    LawCurve,
    LawPoint,
    LawPoints,
    MissingLaw,
)
from .records import Interval

__all__ = ["NoLaw", "ScalingLaw", "fit", "run_laws"]

FEWEST = 8  # points for three unknowns and an error
SPAN = 4.0  # the last point's tokens over the first's: less is no curve
DRAWS = 400
POWERS = np.geomspace(0.02, 2.0, 60)
TOLERANCE = 1e-9  # of the power
TINY = 1e-300
CURVE_POINTS = 60
AHEAD = (1.0, 2.0, 10.0)  # times the run's tokens, to which the law is extrapolated


class NoLaw(Exception):
    """Why a curve can't be fitted, in words for the report."""


@dataclass(frozen=True)
class ScalingLaw:
    """A fit; ``low`` and ``high`` hold 95% bounds of floor, scale and power."""

    floor: float  # E, the loss that is left however long training goes on
    scale: float  # A
    power: float  # a
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    residual: float  # root of the mean square, in the loss's unit
    draws: np.ndarray  # float64 [draws, 3]

    def at(self, tokens: np.ndarray) -> np.ndarray:
        """The fitted loss after ``tokens``."""
        return self.floor + self.scale * np.asarray(tokens, np.float64) ** -self.power

    def band(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The 95% bounds of the fitted loss after ``tokens`` [n]."""
        floor, scale, power = self.draws.T[:, :, None]
        losses = floor + scale * np.asarray(tokens, np.float64)[None, :] ** -power
        return np.quantile(losses, 0.025, axis=0), np.quantile(losses, 0.975, axis=0)


def run_laws(
    metrics_file: str | Path, warmup_tokens: int, last_differs: bool, seed: int
) -> dict[Literal["held_out", "training"], FittedLaw | MissingLaw]:
    """The law of the held-out text (bits per byte) and of the training loss (nats per token), each
    with its points, or why there is none.

    ``warmup_tokens``: what comes before them is left out. ``last_differs``: the last evaluation
    took other documents than those before it.
    """
    metrics = read_metrics(metrics_file)
    held_out_tokens, bpb = metrics.points("val_bpb")
    if last_differs:
        held_out_tokens, bpb = held_out_tokens[:-1], bpb[:-1]

    train_tokens, loss = metrics.points("loss")
    fresh = train_tokens <= _first_epoch(metrics)
    return {
        "held_out": _law_of(held_out_tokens, bpb, warmup_tokens, seed),
        "training": _law_of(train_tokens[fresh], loss[fresh], warmup_tokens, seed),
    }


def _law_of(
    tokens: np.ndarray, losses: np.ndarray, warmup_tokens: int, seed: int
) -> FittedLaw | MissingLaw:
    tokens, first = np.unique(tokens, return_index=True)
    after = tokens > warmup_tokens
    tokens, losses = tokens[after], losses[first][after]
    try:
        law = fit(tokens, losses, seed)
    except NoLaw as reason:
        return MissingLaw(points=int(tokens.size), reason=str(reason))

    ahead = tokens[-1] * np.array(AHEAD)
    curve = np.geomspace(tokens[0], ahead[-1], CURVE_POINTS)
    low, high = law.band(curve)
    floor, scale, power = map(Interval, (law.floor, law.scale, law.power), law.low, law.high)
    return FittedLaw(
        points=int(tokens.size),
        floor=floor,
        scale=scale,
        power=power,
        residual=law.residual,
        first_tokens=float(tokens[0]),
        last_tokens=float(tokens[-1]),
        ahead=[
            LawPoint(value=value, low=low, high=high, tokens=at)
            for at, value, low, high in np.stack(
                [ahead, law.at(ahead), *law.band(ahead)]
            ).T.tolist()
        ],
        measured=LawPoints(tokens=tokens.tolist(), loss=losses.tolist()),
        curve=LawCurve(
            tokens=curve.tolist(),
            loss=law.at(curve).tolist(),
            low=low.tolist(),
            high=high.tolist(),
        ),
    )


def _first_epoch(metrics: Metrics) -> float:
    """Tokens of the first epoch; infinite when the metrics don't say."""
    tokens, epochs = metrics.points("epoch")
    epoch_tokens = tokens[epochs > 0] / epochs[epochs > 0]
    return float(epoch_tokens[-1]) if epoch_tokens.size else float("inf")


def fit(tokens: np.ndarray, losses: np.ndarray, seed: int) -> ScalingLaw:
    """The law of a curve, ``tokens`` (ascending) and ``losses`` [points]; NoLaw with the reason
    where there is none.

    For a given power the law is linear in E and A, so only the power is searched and the other two
    are solved for (variable projection), neither below 0. The error comes from a bootstrap of the
    residuals in blocks: neighbouring points of a curve err together, and drawing them one by one
    would promise too much.
    """
    tokens, losses = np.asarray(tokens, np.float64), np.asarray(losses, np.float64)
    _check(tokens, losses)

    # In units of the run's tokens, so that A is of the loss's size while it is searched.
    unit = float(tokens[-1])
    x = tokens / unit
    floor, scale, power = _least_squares(x, losses)
    if scale <= 0:
        raise NoLaw("the loss does not fall over the run, so there is nothing to extrapolate")
    if not POWERS[0] < power < POWERS[-1]:
        raise NoLaw(
            "the curve is no power of the tokens (the best power lies beyond "
            f"{POWERS[0]:g} to {POWERS[-1]:g})"
        )

    fitted = floor + scale * x**-power
    residuals = losses - fitted
    draws = _bootstrap(x, fitted, residuals, np.random.default_rng(seed))
    draws[:, 1] *= unit ** draws[:, 2]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0).tolist()
    return ScalingLaw(
        floor,
        scale * unit**power,
        power,
        tuple(low),
        tuple(high),
        float(np.sqrt(np.mean(residuals**2))),
        draws,
    )


def _check(tokens: np.ndarray, losses: np.ndarray) -> None:
    if tokens.size < FEWEST:
        raise NoLaw(f"{tokens.size} points, and three unknowns with their error need {FEWEST}")
    assert (np.diff(tokens) > 0).all(), "a curve goes forward"
    if tokens[-1] < SPAN * tokens[0]:
        raise NoLaw(
            f"the points span a factor of {tokens[-1] / tokens[0]:.1f} in tokens; a law needs "
            f"{SPAN:g}"
        )
    if not np.isfinite(losses).all():
        raise NoLaw("some losses are NaN or infinite")


def _least_squares(tokens: np.ndarray, losses: np.ndarray) -> tuple[float, float, float]:
    """(E, A, a)"""
    # The grid finds the valley, for there may be several; the search its bottom.
    best = int(np.argmin(_linear(tokens, losses, POWERS)[2]))
    low, high = POWERS[max(0, best - 1)], POWERS[min(POWERS.size - 1, best + 1)]
    bottom = minimize_scalar(
        lambda power: _linear(tokens, losses, np.array([power]))[2][0],
        bounds=(low, high),
        method="bounded",
        options={"xatol": TOLERANCE},
    ).x

    # The search never reaches its bounds; at the end of the grid the minimum may lie there.
    powers = np.array([POWERS[best], bottom])
    floors, scales, errors = _linear(tokens, losses, powers)
    i = int(np.argmin(errors))
    return float(floors[i]), float(scales[i]), float(powers[i])


def _linear(
    tokens: np.ndarray, losses: np.ndarray, powers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E, A and the squared error of the best fit for each power, each [powers]; where E would be
    negative it is 0.
    """
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
    """(E, A, a), float64 [draws, 3], of curves made of the fit and of blocks of its residuals."""
    n = residuals.size
    block = max(1, round(n ** (1 / 3)))
    laws = np.empty((DRAWS, 3))
    for i in range(DRAWS):
        starts = generator.integers(0, n, -(-n // block))
        chosen = ((starts[:, None] + np.arange(block)) % n).ravel()[:n]
        laws[i] = _least_squares(tokens, fitted + residuals[chosen])
    return laws
