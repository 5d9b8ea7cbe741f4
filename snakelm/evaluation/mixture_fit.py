"""The best mixture, fitted to the proxies of many (as RegMix, Liu et al. 2024, arXiv:2407.01492):
bits per byte as a function of the shares, looked up at thousands of mixtures that nobody trained.

The function is a Gaussian process over the shares' square roots (distance is Hellinger's then, so
that 1% against 2% counts more than 50% against 51%). A straight line, RegMix's cheaper choice, puts
the best mixture into a corner; this one bends, needs no form to be chosen, and says how sure it is.
As RegMix does, the mean of the best mixtures is taken rather than the very best, which is luck.

Mixtures have one seed each, of which each shifts all its proxies alike; that shift is taken out by
the mixtures that have every seed.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from ..data.tokens.mixtures import MixturePlan, draw_shares, largest_shares
from ..workflow.source_ablation import FULL
from .intervals import CONFIDENCE, Interval, rounded
from .source_ablation_record import MixtureFit, ProxyRun

__all__ = ["fit_mixtures"]

CANDIDATES = 4_000
BEST = 40  # of the candidates, whose mean is proposed


def fit_mixtures(
    runs: Sequence[ProxyRun], plan: MixturePlan, run_tokens: int, seed: int
) -> MixtureFit:
    """The mixture that should be best, among those that `mix_sources` may draw, and what it should
    gain. ``run_tokens``: what the run itself reads.
    """
    sources = list(plan.tokens)
    shares = {one.name: np.array([one.shares[name] for name in sources]) for one in plan.mixtures}
    x = np.array([shares[run.mixture] for run in runs])
    bpb = _without_seeds(runs)
    scale = float(bpb.std()) or 1.0
    y, groups = (bpb - bpb.mean()) / scale, [run.mixture for run in runs]

    kernel = ConstantKernel(1.0) * RBF(0.5, (0.05, 20.0)) + WhiteKernel(0.05, (1e-5, 1.0))
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=seed % 2**31)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound of the kernel is an answer
        process.fit(np.sqrt(x), y)
        settled = GaussianProcessRegressor(process.kernel_, optimizer=None)
        told = cross_val_predict(settled, np.sqrt(x), y, groups=groups, cv=LeaveOneGroupOut())

    tokens = np.array(list(plan.tokens.values()))
    generator = np.random.default_rng([seed, CANDIDATES])
    largest = largest_shares(tokens, run_tokens)
    drawn = np.array([draw_shares(tokens, largest, generator) for _ in range(CANDIDATES)])
    lowest = np.argsort(process.predict(np.sqrt(drawn)), kind="stable")[:BEST]
    best = drawn[lowest].mean(axis=0)

    gain = rounded(_gain(process, best, shares[FULL], scale))
    rank = stats.spearmanr(told, y).statistic if np.ptp(told) and np.ptp(y) else None
    return MixtureFit(
        shares=dict(zip(sources, best.round(6).tolist(), strict=True)),
        gain=gain,
        error=round(float(np.sqrt(np.mean((told - y) ** 2))) * scale, 6),
        rank=None if rank is None else round(float(rank), 4),
        taken=gain.high is not None and gain.high < 0,
    )


def _without_seeds(runs: Sequence[ProxyRun]) -> np.ndarray:
    """Bits per byte of each proxy, less what its seed has above the others' mean in the mixtures
    that have every seed; [proxies].
    """
    seeds = sorted({run.seed for run in runs})
    by_mixture: dict[str, dict[int, float]] = {}
    for run in runs:
        by_mixture.setdefault(run.mixture, {})[run.seed] = run.bpb
    whole = [each for each in by_mixture.values() if len(each) == len(seeds)]
    of_seed = np.array([[each[seed] for seed in seeds] for each in whole]).mean(axis=0)
    above = dict(zip(seeds, of_seed - of_seed.mean(), strict=True))
    return np.array([run.bpb - above[run.seed] for run in runs])


def _gain(
    process: GaussianProcessRegressor, best: np.ndarray, full: np.ndarray, scale: float
) -> Interval:
    """The difference of two mixtures as the process knows it, in bits per byte."""
    mean, covariance = process.predict(np.sqrt([best, full]), return_cov=True)
    noise = process.kernel_.k2.noise_level  # of a training, which the mean has none of
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] - 2 * noise
    half = stats.norm.ppf(0.5 + CONFIDENCE / 2) * np.sqrt(max(0.0, float(variance)))
    value = float(mean[0] - mean[1])
    return Interval(value * scale, (value - half) * scale, (value + half) * scale)
