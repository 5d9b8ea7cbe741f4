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
from ..bins import BinWriter, TokenBin, open_bin
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
    """A mixture before it is written. ``times``: how often each document occurs, int64 [n]."""

    name: str
    times: np.ndarray
    weights: dict[str, float]


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

    planned = list(_planned(config, names, number, tokens, train))
    sizes = {one.name: int((one.times * lengths).sum()) for one in planned}
    _check_sizes(config, sizes)
    paths = {path.parent.name: path for path in outputs}
    assert list(paths) == list(sizes), "rule and step name the same mixtures"

    log.say(f"{len(planned)} mixtures of {len(names)} sources from {train.meta.tokens:,} tokens")
    for first in range(0, len(planned), AT_ONCE):
        _write(planned[first : first + AT_ONCE], train, paths, tokenizer, log)

    read, _ = proxy_tokens(config)
    mixtures = []
    for one in planned:
        of_source = np.bincount(number, one.times * lengths, len(names)) / sizes[one.name]
        mixtures.append(
            Mixture(
                name=one.name,
                tokens=sizes[one.name],
                documents=int(one.times.sum()),
                shares=dict(zip(names, of_source.round(6).tolist(), strict=True)),
                epochs=round(read / sizes[one.name], 4),
            )
        )
    plan = MixturePlan(
        tokens=dict(zip(names, tokens.tolist(), strict=True)), proxy_tokens=read, mixtures=mixtures
    )
    _say_repetition(plan, config.source_ablation.proxy.get("train.regime"), log)
    return plan


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


def _check_sizes(config: Config, sizes: dict[str, int]) -> None:
    _, batch = proxy_tokens(config)
    for name, size in sizes.items():
        if size < batch:
            raise UserError(
                f"source_ablation: {name} has {size:,} tokens, less than one batch "
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


def _planned(
    config: Config, names: list[str], number: np.ndarray, tokens: np.ndarray, train: TokenBin
) -> Iterator[_Planned]:
    study, total = config.source_ablation, int(tokens.sum())
    largest = largest_shares(tokens, config.train.steps * config.train.batch_tokens)
    most = HEADROOM * proxy_tokens(config)[0]

    for place, name in enumerate(mixture_names(names, study.mixtures)):
        if place <= len(names):
            kept = np.array([name != mixture_without(one) for one in names])
            shares = tokens * kept / (tokens * kept).sum()
            size = min(int((tokens * kept).sum()), most)
        else:
            generator = np.random.default_rng([config.seed, place - len(names)])
            shares, size = draw_shares(tokens, largest, generator), min(total, most)

        factors = shares * size / tokens
        times = np.zeros(number.size, np.int64)
        for source, factor in enumerate(factors.tolist()):
            own = number == source
            times[own] = repeats(train.document_ids[own], factor, config.seed, "mixture")
        weights = {
            source.name or "": source.weight * factor
            for source, factor in zip(config.sources, factors.tolist(), strict=True)
        }
        yield _Planned(name, times, weights)


def _write(
    planned: Sequence[_Planned],
    train: TokenBin,
    paths: dict[str, Path],
    tokenizer: Tokenizer,
    log: Log,
) -> None:
    """One pass over train.bin, which gives each mixture its documents."""
    offsets, ids = train.document_offsets, train.document_ids
    with ExitStack() as stack:
        writers = []
        for one in planned:
            meta = replace(train.meta, weights=one.weights)
            meta.tokens = meta.documents = meta.text_bytes = meta.max_token = 0
            paths[one.name].parent.mkdir(parents=True, exist_ok=True)
            writers.append(stack.enter_context(BinWriter(paths[one.name], meta)))
        bar = stack.enter_context(log.progress(train.meta.tokens, "tokens"))

        first = 0
        while first < ids.size:
            last = max(
                first + 1, int(np.searchsorted(offsets, offsets[first] + BLOCK, "right")) - 1
            )
            block = train.read(int(offsets[first]), int(offsets[last]))
            lengths = np.diff(offsets[first : last + 1])
            sizes = np.add.reduceat(
                tokenizer.token_lengths[block], offsets[first:last] - offsets[first]
            )
            sizes -= int(tokenizer.token_lengths[train.meta.eot])
            for one, writer in zip(planned, writers, strict=True):
                times = one.times[first:last]
                for copy in range(int(times.max(initial=0))):
                    chosen = times > copy
                    writer.append(
                        block[np.repeat(chosen, lengths)],
                        lengths[chosen],
                        ids[first:last][chosen],
                        int(sizes[chosen].sum()),
                    )
            bar.update(int(offsets[last]), "mixed")
            first = last


def _say_repetition(plan: MixturePlan, regime: object, log: Log) -> None:
    full = plan.mixture(FULL)
    log.say(f"a proxy reads {plan.proxy_tokens:,} tokens: {full.epochs:.2f} epochs of all sources")
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
