"""Which source helped? The trainings that tell: proxies on mixtures of one train.bin.

`full` has every source as the run has it, `without~news` all but one, in the same proportions, and
`mixture~1`, … random shares. Each is trained with the same steps, so what is left out is replaced
by more of the rest. Full and left-out mixtures take every seed; of random ones each takes one, in
turn: a fit over mixtures learns more from another mixture than from another seed.

What can't be studied is found before any job where the configuration says it, and before any
training where the documents do (data/tokens/mixtures.py).
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from ..config import Config
from ..errors import UserError
from .step import Step
from .sweep import Point, check_trained, prepared_anew, with_values

__all__ = [
    "FULL",
    "ablation_points",
    "judging_sources",
    "mixture_names",
    "mixture_without",
    "proxy_tokens",
]

STUDY = "source_ablation"
FULL = "full"
SEED = "train.seed"
MOST_SEED = 2**32 - 1


def mixture_names(sources: Sequence[str], mixtures: int) -> list[str]:
    """The names of all mixtures, which are those of their folders."""
    random = [f"mixture~{number}" for number in range(1, mixtures + 1)]
    return [FULL, *map(mixture_without, sources), *random]


def mixture_without(source: str) -> str:
    """The name of the mixture that lacks a source."""
    return f"without~{source}"


def judging_sources(config: Config) -> list[str]:
    """The sources whose held-out text decides."""
    judge_by = config.source_ablation.judge_by
    return [source.name or "" for source in config.sources] if judge_by == "all" else list(judge_by)


def proxy_tokens(config: Config) -> tuple[int, int]:
    """Tokens that a proxy reads, and those of its batch."""
    given, train = config.source_ablation.proxy, config.train
    batch = int(given.get("train.batch_tokens") or train.batch_tokens)
    return int(given.get("train.steps") or train.steps) * batch, batch


def ablation_points(
    given: Mapping[str, Any], config: Config, steps: Mapping[str, Step]
) -> list[Point]:
    """Every training of the study; none without seeds.

    ``given``: the user's keys, which ``config`` was made from. UserError for what can't be studied.
    """
    study = config.source_ablation
    if not study.seeds:
        return []

    names = [source.name or "" for source in config.sources]
    _check(config, names)
    configs = {seed: _config(given, config, steps, seed) for seed in study.seeds}
    points = []
    for place, name in enumerate(mixture_names(names, study.mixtures)):
        drawn = place - len(names) - 1  # of the random ones the first is 0
        seeds = study.seeds if drawn < 0 else [study.seeds[drawn % len(study.seeds)]]
        points += [
            Point(
                f"{name}/{SEED}~{seed}",
                {SEED: seed},
                configs[seed],
                study=STUDY,
                train_bin=f"{STUDY}/{name}/train.bin",
            )
            for seed in seeds
        ]
    return points


def _config(
    given: Mapping[str, Any], config: Config, steps: Mapping[str, Step], seed: int
) -> Config:
    """The proxies' configuration. Dropout and averages by the number of epochs would make another
    training of a mixture that repeats its text more often, so `auto` is `fresh` here. Where `size`
    has set steps and batch by the run's shape, proxies of another shape keep them.
    """
    proxy = config.source_ablation.proxy
    for key in proxy:
        if key in ("seed", SEED):
            raise UserError(f"{STUDY}.proxy: found {key}; {STUDY}.seeds is the place for it")
        check_trained(f"{STUDY}.proxy.{key}", key, config, steps)

    values = {**proxy, SEED: seed}
    if values.get("train.regime", config.train.regime) == "auto":
        values["train.regime"] = "fresh"
    if config.size is not None:
        kept = {f"train.{key}": getattr(config.train, key) for key in ("steps", "batch_tokens")}
        values = kept | values
    made = with_values(f"{STUDY}.proxy", given, values)
    if prepared := sorted(prepared_anew(config, made, steps)):
        raise UserError(
            f"{STUDY}.proxy: changes what is prepared ({', '.join(prepared)}), and proxies share "
            "that with the run; vary keys of model and train only"
        )
    return made


def _check(config: Config, names: list[str]) -> None:
    study = config.source_ablation
    if len(names) < 2:
        raise UserError(
            f"{STUDY}: the run has one source, {names[0]}; without it nothing is left to train on. "
            "Bring another, or give the parts of this one sources of their own"
        )

    odd = [seed for seed in study.seeds if not 0 <= seed <= MOST_SEED]
    twice = sorted({seed for seed in study.seeds if study.seeds.count(seed) > 1})
    if odd or twice:
        what = f"{odd[0]}, allowed is 0 to {MOST_SEED:,}" if odd else f"{twice[0]} twice"
        raise UserError(f"{STUDY}.seeds: found {what}; give different seeds such as [1, 2, 3]")

    if 0 < study.mixtures < 2 * len(names):
        raise UserError(
            f"{STUDY}.mixtures: found {study.mixtures} for {len(names)} sources, from which no "
            f"weights can be fitted; expected 0, or {2 * len(names)} and more"
        )

    if isinstance(study.judge_by, str) and study.judge_by != "all":
        raise UserError(
            f"{STUDY}.judge_by: found {study.judge_by!r}, expected all or a list of sources such "
            f"as [{names[0]}]"
        )
    if not study.judge_by:
        raise UserError(f"{STUDY}.judge_by: an empty list; name a source, or say all")
    unknown = [name for name in judging_sources(config) if name not in names]
    if unknown:
        close = difflib.get_close_matches(unknown[0], names, 1)
        hint = f"did you mean {close[0]}?" if close else f"sources are {', '.join(names)}"
        raise UserError(f"{STUDY}.judge_by: no source {unknown[0]!r}; {hint}")
