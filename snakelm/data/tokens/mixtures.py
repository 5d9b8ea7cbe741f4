"""Mixtures of the sources of one train.bin, as token files of their own: documents are copied, not
tokenised again.

A mixture has a share of tokens for each source. A share is kept as `sources[].weight` keeps it:
each document occurs so often, and a fraction of a time is that share of the documents, by hash; so
one mixture's documents are among those of another that has more of their source. A mixture needn't
hold more than its proxies read: a few times that, so that seeds read different documents.

Random shares are drawn as in RegMix (Liu et al. 2024, arXiv:2407.01492), from Dirichlet
distributions of several widths around the run's own shares; half-way to equal ones, for a source of
a hundredth would hardly be seen. No source gets so large a share that the run itself would read it
more often than repeating is nearly as good as new text (four epochs: Muennighoff et al. 2023,
arXiv:2305.16264), or than twice as often as it reads it now: proxies, which read less, couldn't see
the harm.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...config import Config
from ...errors import UserError
from ...json_files import read_json
from ...json_record import JsonRecord
from ...log import Log
from ...tokenizer import Tokenizer
from ...workflow.source_ablation import (
    FULL,
    judging_sources,
    mixture_names,
    mixture_without,
    proxy_tokens,
)
from ..bins import BinWriter, Meta, TokenBin, open_bin
from ..documents.sources import source_numbers
from ..split import repeats

__all__ = [
    "Mixture",
    "MixturePlan",
    "draw_shares",
    "largest_shares",
    "mix_sources",
    "read_mixtures",
]

HEADROOM = 4  # times what a proxy reads, that a mixture holds at most
FRESH_EPOCHS = 4.0
MOST_OFTEN = 2.0  # times as often as now, whatever the number of epochs
AT_ONCE = 64  # mixtures written in one pass over train.bin, three open files each
BLOCK = 1 << 22  # tokens of train.bin in memory


class Mixture(JsonRecord):
    """``shares``: of its tokens, by source, as they came out. ``epochs``: how often a proxy reads
    it.
    """

    name: str
    tokens: int
    documents: int
    shares: dict[str, float]
    epochs: float


class MixturePlan(JsonRecord):
    """mixtures.json. ``tokens``: of each source in train.bin. ``proxy_tokens``: what a proxy
    reads.
    """

    tokens: dict[str, int]
    proxy_tokens: int
    mixtures: list[Mixture]

    def mixture(self, name: str) -> Mixture:
        """The mixture of a name; UserError where there is none."""
        for one in self.mixtures:
            if one.name == name:
                return one
        raise UserError(f"mixtures.json: no mixture {name}; run mix_sources again")


def read_mixtures(path: Path) -> MixturePlan:
    """What mix_sources wrote; UserError for a file that isn't that."""
    plan: MixturePlan = read_json(path, MixturePlan, remedy="delete it and run mix_sources again")
    return plan


@dataclass(frozen=True)
class _Planned:
    """A mixture before it is written. ``factors``: how often documents of each source occur in it,
    [sources], beside how often they do in train.bin.
    """

    name: str
    factors: np.ndarray
    seed: int

    def times(self, ids: np.ndarray, number: np.ndarray) -> np.ndarray:
        """How often each document occurs, int64 [n]. Not kept: there may be many documents."""
        times = np.zeros(ids.size, np.int64)
        for source, factor in enumerate(self.factors.tolist()):
            own = number == source
            times[own] = repeats(ids[own], factor, self.seed, "mixture")
        return times


def mix_sources(
    config: Config,
    train_bin: Path,
    val_bin: Path,
    documents: Path,
    tokenizer: Tokenizer,
    outputs: Sequence[Path],
    log: Log,
) -> MixturePlan:
    """Writes every mixture of the study, train.bin in the folder of its name among ``outputs``, and
    says how often proxies read them. UserError, before anything is written, for a study that can't
    be made of these documents.
    """
    names = [source.name or "" for source in config.sources]
    train, val = (open_bin(path, tokenizer.sha256) for path in (train_bin, val_bin))
    number, held_out = source_numbers(documents, names, train.document_ids, val.document_ids)
    lengths = np.diff(train.document_offsets)
    tokens = np.bincount(number, lengths, len(names)).astype(np.int64)
    _check_sources(config, names, tokens, held_out)

    planned = list(_planned(config, names, tokens))
    read, _ = proxy_tokens(config)
    mixtures = [_described(one, names, train, number, read) for one in planned]
    plan = MixturePlan(
        tokens=dict(zip(names, tokens.tolist(), strict=True)), proxy_tokens=read, mixtures=mixtures
    )
    _check_sizes(config, plan)
    paths = {path.parent.name: path for path in outputs}
    assert list(paths) == [one.name for one in planned], "rule and step name the same mixtures"

    log.say(f"{len(planned)} mixtures of {len(names)} sources from {train.meta.tokens:,} tokens")
    weights = np.array([source.weight for source in config.sources])
    for first in range(0, len(planned), AT_ONCE):
        part = planned[first : first + AT_ONCE]
        metas = [
            replace(train.meta, weights=dict(zip(names, weights * one.factors, strict=True)))
            for one in part
        ]
        files = [paths[one.name] for one in part]
        _write(part, metas, files, train, number, tokenizer.token_lengths, log)

    regime = config.source_ablation.proxy.get("train.regime", config.train.regime)
    _say_repetition(plan, regime, log)
    return plan


def _described(
    one: _Planned, names: list[str], train: TokenBin, number: np.ndarray, read: int
) -> Mixture:
    """``read``: tokens that a proxy reads."""
    times = one.times(train.document_ids, number)
    of_source = np.bincount(number, times * np.diff(train.document_offsets), len(names))
    size = int(of_source.sum())
    return Mixture(
        name=one.name,
        tokens=size,
        documents=int(times.sum()),
        shares=dict(zip(names, (of_source / max(1, size)).round(6).tolist(), strict=True)),
        epochs=round(read / max(1, size), 4),
    )


def _check_sources(
    config: Config, names: list[str], tokens: np.ndarray, held_out: np.ndarray
) -> None:
    if empty := [name for name, count in zip(names, tokens, strict=True) if not count]:
        raise UserError(
            f"source_ablation: source {empty[0]!r} has no document in train.bin, so leaving it out "
            "changes nothing; take it out of `sources`, or see what dropped its documents"
        )
    counts = np.bincount(held_out, minlength=len(names))
    judges = judging_sources(config)
    if not any(counts[names.index(name)] for name in judges):
        raise UserError(
            f"source_ablation.judge_by: {', '.join(judges)}: no held-out document; raise "
            "prepare.val_fraction, or judge by another source"
        )


def _check_sizes(config: Config, plan: MixturePlan) -> None:
    _, batch = proxy_tokens(config)
    for one in plan.mixtures:
        if one.tokens < batch:
            raise UserError(
                f"source_ablation: {one.name} has {one.tokens:,} tokens, less than one batch "
                f"(train.batch_tokens {batch:,}); bring more text, or set a smaller one in "
                "source_ablation.proxy"
            )


def largest_shares(tokens: np.ndarray, run_tokens: int) -> np.ndarray:
    """The largest share that a source may have, [sources], given its tokens in train.bin and those
    that the run reads.
    """
    epochs = run_tokens / tokens.sum()
    return np.minimum(1.0, max(FRESH_EPOCHS / epochs, MOST_OFTEN) * tokens / tokens.sum())


def draw_shares(
    tokens: np.ndarray, largest: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Random shares of the sources, [sources]; none above ``largest``."""
    sources = tokens.size
    middle = (tokens / tokens.sum() + 1 / sources) / 2
    width = np.exp(generator.uniform(0.0, np.log(4 * sources)))
    kept = np.minimum(generator.dirichlet(width * middle), largest)
    room = largest - kept
    return kept + (1 - kept.sum()) * room / max(room.sum(), 1e-12)


def _planned(config: Config, names: list[str], tokens: np.ndarray) -> Iterator[_Planned]:
    study, total = config.source_ablation, int(tokens.sum())
    largest = largest_shares(tokens, config.train.steps * config.train.batch_tokens)
    most = HEADROOM * proxy_tokens(config)[0]

    for place, name in enumerate(mixture_names(names, study.mixtures)):
        if place <= len(names):
            kept = tokens * np.array([name != mixture_without(one) for one in names])
            shares, size = kept / kept.sum(), min(int(kept.sum()), most)
        else:
            generator = np.random.default_rng([config.seed, place - len(names)])
            shares, size = draw_shares(tokens, largest, generator), min(total, most)
        yield _Planned(name, shares * size / tokens, config.seed)


def _write(
    planned: Sequence[_Planned],
    metas: Sequence[Meta],
    files: Sequence[Path],
    train: TokenBin,
    number: np.ndarray,
    token_lengths: np.ndarray,
    log: Log,
) -> None:
    """One pass over train.bin, which gives each mixture its documents."""
    offsets, ids, eot = train.document_offsets, train.document_ids, train.meta.eot
    with ExitStack() as stack:
        writers = []
        for meta, file in zip(metas, files, strict=True):
            meta.tokens = meta.documents = meta.text_bytes = meta.max_token = 0
            file.parent.mkdir(parents=True, exist_ok=True)
            writers.append(stack.enter_context(BinWriter(file, meta)))
        bar = stack.enter_context(log.progress(train.meta.tokens, "tokens"))

        first = 0
        while first < ids.size:
            ends = np.searchsorted(offsets, offsets[first] + BLOCK, "right")
            last = max(first + 1, int(ends) - 1)
            block = train.read(int(offsets[first]), int(offsets[last]))
            lengths, own = np.diff(offsets[first : last + 1]), slice(first, last)
            starts = offsets[own] - offsets[first]
            sizes = np.add.reduceat(token_lengths[block], starts) - token_lengths[eot]

            for one, writer in zip(planned, writers, strict=True):
                times = one.times(ids[own], number[own])
                for copy in range(int(times.max(initial=0))):
                    chosen = times > copy
                    tokens = block[np.repeat(chosen, lengths)]
                    size = int(sizes[chosen].sum())
                    writer.append(tokens, lengths[chosen], ids[own][chosen], size)
            bar.update(int(offsets[last]), "mixed")
            first = last


def _say_repetition(plan: MixturePlan, regime: object, log: Log) -> None:
    full = plan.mixture(FULL)
    log.say(f"a proxy reads {plan.proxy_tokens:,} tokens: {full.epochs:.2f} epochs of `full`")
    for one in plan.mixtures:
        if one.epochs > max(1.0, full.epochs):
            log.warn(
                f"source_ablation: {one.name} has {one.tokens:,} tokens, which a proxy reads "
                f"{one.epochs:.1f} times (all sources: {full.epochs:.1f}); a part of what it loses "
                "is repetition. Fewer train.steps in source_ablation.proxy would avoid that"
            )
    if max(one.epochs for one in plan.mixtures) > FRESH_EPOCHS and regime != "repeated":
        log.warn(
            "source_ablation: text is read more than four times; add train.regime: repeated to "
            "source_ablation.proxy, and all proxies take dropout and an average of their weights"
        )
