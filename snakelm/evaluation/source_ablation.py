"""Which source helped: what happens to held-out text when a source is left out of training, with
intervals, a verdict for each source, and the weights that follow.

Proxies read the same number of tokens with and without a source, so the question is whether its
text is worth more than as much of the other sources' (data-constrained: than reading those again).
A source that is itself among what is judged by helps by construction; `elsewhere` is the same
question asked of the others' text alone, and `on` of each source's.

The weights: where mixtures were trained, the shares that a fit over them predicts to be best, if
that gain is beyond chance. Otherwise what hurts is left out and the rest stays as it is.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..config import Config
from ..data.tokens.mixtures import MixturePlan, read_mixtures
from ..errors import UserError
from ..workflow.source_ablation import FULL, judging_sources, mixture_without
from .heldout_documents import BITS
from .intervals import Interval, rate_over_seeds, rounded
from .proxy_losses import ProxyLosses
from .source_ablation_record import (
    MixtureFit,
    ProxyRun,
    SourceAblationRecord,
    SourceEffect,
    Verdict,
)
from .source_weights import proposed_weights

__all__ = ["judge_sources", "summary", "verdict_of"]


def judge_sources(config: Config, losses: ProxyLosses, mixtures: Path) -> SourceAblationRecord:
    """The record of the study whose proxies ``losses`` are of; ``mixtures``: mixtures.json."""
    plan, judges = read_mixtures(mixtures), judging_sources(config)
    names, seeds = list(plan.tokens), list(config.source_ablation.seeds)
    source = np.array(losses.source, object)
    judged, clean = _judged(losses, source, judges)
    measure = _Measure(losses, seeds, config.seed)

    # The most helpful first, then a fit, which reads what each proxy has on the judged text.
    effects = [_effect(config, plan, name, judges, judged, source, measure) for name in names]
    effects.sort(key=lambda one: -one.effect.value)
    sizes = losses.bytes[judged]
    bpb = losses.nll[:, judged].sum(axis=1) * BITS / sizes.sum()
    runs = [
        ProxyRun(mixture=mixture, seed=seed, bpb=round(float(value), 6))
        for (mixture, seed), value in zip(losses.runs, bpb, strict=True)
    ]
    fit = _fit(config, runs, plan)
    proposed = proposed_weights(effects, plan, fit)
    full = plan.mixture(FULL)
    return SourceAblationRecord(
        judge_by=judges,
        clean=clean,
        documents=int(judged.sum()),
        bytes=int(sizes.sum()),
        seeds=seeds,
        proxy_tokens=plan.proxy_tokens,
        parameters=losses.parameters,
        epochs=full.epochs,
        bpb=_known(measure.level(judged)),
        bpb_on={name: measure.level(measure.usable & (source == name)) for name in names},
        sources=[one.model_copy(update={"proposed": proposed[one.name]}) for one in effects],
        runs=runs,
        shares={one.name: one.shares for one in plan.mixtures},
        fit=fit,
    )


def _fit(config: Config, runs: Sequence[ProxyRun], plan: MixturePlan) -> MixtureFit | None:
    """The fit over mixtures, where some were trained."""
    if not config.source_ablation.mixtures:
        return None
    from .mixture_fit import fit_mixtures  # scikit-learn takes seconds to import

    run_tokens = config.train.steps * config.train.batch_tokens
    return fit_mixtures(runs, plan, run_tokens, config.seed)


def _judged(
    losses: ProxyLosses, source: np.ndarray, judges: Sequence[str]
) -> tuple[np.ndarray, bool]:
    """(which documents are judged by, whether they are the clean ones)"""
    own = np.isin(source, judges) & (losses.bytes > 0)
    if not own.any():
        raise UserError(
            f"source_ablation.judge_by: {', '.join(judges)}: no held-out text; raise "
            "prepare.val_fraction, or judge by another source"
        )
    clean = own & losses.clean
    return (clean, True) if clean.any() else (own, False)


class _Measure:
    """Intervals over seeds and some documents, `chosen`, bool [documents]; None without any."""

    def __init__(self, losses: ProxyLosses, seeds: Sequence[int], seed: int) -> None:
        self.losses, self.seeds, self.seed = losses, seeds, seed
        self.full = losses.of(FULL, seeds)
        has_text = losses.bytes > 0
        clean = losses.clean & has_text
        self.usable = clean if clean.any() else has_text

    def level(self, chosen: np.ndarray) -> Interval | None:
        """Bits per byte of all sources."""
        return self._rate(self.full, chosen)

    def without(self, name: str, chosen: np.ndarray) -> Interval | None:
        """How much more there are without a source."""
        lacking = self.losses.of(mixture_without(name), self.seeds)
        return self._rate(lacking - self.full, chosen)

    def _rate(self, nll: np.ndarray, chosen: np.ndarray) -> Interval | None:
        found = rate_over_seeds(nll[:, chosen], self.losses.bytes[chosen], self.seed, BITS)
        return rounded(found) if found else None


def _effect(
    config: Config,
    plan: MixturePlan,
    name: str,
    judges: Sequence[str],
    judged: np.ndarray,
    source: np.ndarray,
    measure: _Measure,
) -> SourceEffect:
    effect = _known(measure.without(name, judged))
    weights = {one.name or "": one.weight for one in config.sources}
    return SourceEffect(
        name=name,
        share=round(plan.tokens[name] / sum(plan.tokens.values()), 6),
        weight=weights[name],
        judged=name in judges,
        effect=effect,
        verdict=verdict_of(effect),
        elsewhere=measure.without(name, judged & (source != name)),
        on={other: measure.without(name, measure.usable & (source == other)) for other in weights},
        epochs=plan.mixture(mixture_without(name)).epochs,
        proposed=weights[name],
    )


def verdict_of(effect: Interval) -> Verdict:
    """What an effect says of its source."""
    if effect.low is not None and effect.low > 0:
        return "helps"
    if effect.high is not None and effect.high < 0:
        return "hurts"
    return "can't be told"


def _known(interval: Interval | None) -> Interval:
    assert interval is not None, "the judged documents have text"
    return interval


def summary(record: SourceAblationRecord) -> Iterator[str]:
    """What may be said of the study, a sentence each, the most helpful source first."""
    text = "clean held-out text" if record.clean else "held-out text"
    yield (
        f"all sources: {record.bpb.in_words('.4f')} bits per byte of {text} of "
        f"{', '.join(record.judge_by)}"
    )
    for one in record.sources:
        yield f"without {one.name} {one.effect.in_words('+.4f')}: {one.verdict}"
    if fit := record.fit:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in fit.shares.items())
        taken = "taken" if fit.taken else "not beyond chance, so the fit changes no weight"
        yield f"fitted best mixture: {shares}; predicted {fit.gain.in_words('+.4f')}: {taken}"
