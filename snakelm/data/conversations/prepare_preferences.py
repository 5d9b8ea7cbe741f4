"""Preferences to packed token files: read, rendered by the same template as conversations, what is
too long left out and counted, split, packed.

Nothing is cut: a shortened prompt would ask something else, a shortened answer would compare the
ends of nothing. What is held out is decided by the first thing the user says, as in tuning, so all
answers to a question are on one side; and a question that tuning holds out is held out here, too,
or the model that both have made would be measured on answers that it was taught. The bytes of the
files depend on the set of examples and on the seed, not on the order of files or rows.

preferences.loss: dpo compares the two sides of a pair, so an answer with a label is left out; kto
judges each answer by itself, so a pair is two.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...config import Config, PreferenceSource, as_mapping
from ...errors import UserError
from ...log import Log
from ...tokenizer import Tokenizer
from ..bins import Meta, token_dtype
from ..corpora import answer_pairs, questions
from ..packs import best_fit
from ..preference_packs import PreferenceWriter, lay_pairs
from ..reading.readers import expand
from ..split import is_validation, mixed, validation_threshold
from .chat_template import render_batch
from .forget import Forgetting
from .preference_reader import PreferenceReader
from .preferences import Example
from .prepare import append_in_order
from .token_store import ConversationTable, TokenStore

__all__ = ["preference_paths", "prepare_preferences", "source_name"]

BATCH = 2048  # examples rendered at a time
SETTINGS = ("sources", "loss", "context", "val_fraction")


@dataclass
class PreferenceCounts:
    """What became of one source's rows; the field names are the manifest's keys."""

    name: str
    # The reader's counts, or the packages that a built-in source came from.
    reading: dict[str, Any] = field(default_factory=dict)
    found: int = 0  # pairs, or answers with a label, that could be read
    no_pair: int = 0  # of those, with one side only where the loss takes two
    too_long: int = 0  # a side of them is
    duplicates: int = 0
    over_limit: int = 0
    forgotten: int = 0
    kept: int = 0

    def summary(self) -> str:
        """In one line: what came in, what is left, and where the rest went."""
        left_out = {
            **self.reading.get("invalid", {}),
            "one side only, which preferences.loss: kto takes": self.no_pair,
            "longer than the context": self.too_long,
            "duplicate": self.duplicates,
            "over limit": self.over_limit,
            "to be forgotten": self.forgotten,
        }
        reasons = ", ".join(f"{why} {count:,}" for why, count in left_out.items() if count)
        read = self.reading.get("read", self.found)
        return f"{self.name}: {read:,} rows → {self.kept:,} kept ({reasons or 'nothing'} left out)"


@dataclass
class Examples:
    """What was read: the conversations' table, and of each example (``each`` conversations that
    follow each other) what is known of it.
    """

    table: ConversationTable
    each: int
    wanted: np.ndarray  # bool [conversations]

    def conversations(self, examples: np.ndarray) -> np.ndarray:
        """Numbers of the conversations of ``examples``, in order."""
        return (self.each * examples[:, None] + np.arange(self.each)).ravel()

    @property
    def source(self) -> np.ndarray:
        return self.table.source[:: self.each]

    @property
    def question(self) -> np.ndarray:
        return self.table.question[:: self.each]

    @property
    def id(self) -> np.ndarray:
        """Equal for equal examples, a pair and its reverse being two: uint64 [n]."""
        first = self.table.id[:: self.each]
        if self.each == 1:
            return first ^ self.wanted.astype(np.uint64)
        second = self.table.id[1::2]
        return first ^ (second << np.uint64(1) | second >> np.uint64(63))


def preference_paths(source: PreferenceSource) -> list[Path]:
    """A source's own files, globs expanded; none for one that is built in."""
    return expand(source.path, "preferences.sources[].path") if source.path else []


def prepare_preferences(
    config: Config, tokenizer: Tokenizer, output: Path, *, threads: int, log: Log
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Writes `train_preferences` and `val_preferences` (.bin and .idx) into ``output``: (paths by
    split, counts).

    UserError when nothing is left to train on or to hold out.
    """
    preferences = config.preferences
    each = 2 if preferences.loss == "dpo" else 1
    counts = [PreferenceCounts(source_name(source)) for source in preferences.sources]

    forgetting = Forgetting(config.forget, "preferences")
    with TokenStore(output) as store:
        wanted: list[bool] = []
        for number, (source, count) in enumerate(zip(preferences.sources, counts, strict=True)):
            read = _remembered(_read(source, count, config, log), forgetting, count)
            taken = _as_taken(read, each, count)
            for batch in _batches(taken):
                wanted += _render(batch, number, count, store, tokenizer, config, threads)

        forgetting.check(log.warn)
        examples = Examples(store.table(), each, np.array(wanted, bool))
        chosen = _chosen(examples, preferences.sources, counts, config.seed)
        for count in counts:
            log.say(count.summary())
        held_out = _held_out(examples, chosen, config, counts)

        paths: dict[str, Path] = {}
        result: dict[str, Any] = {"sources": [vars(count) for count in counts]}
        result |= {"loss": preferences.loss, "context": preferences.context}
        for split, some in (("train", chosen[~held_out]), ("val", chosen[held_out])):
            paths[split] = output / f"{split}_preferences.bin"
            result[split] = _write(paths[split], store, examples, some, tokenizer, config)
            log.say(_line(split, result[split], examples))
    _check_labels(examples, chosen, log)
    return paths, result


def source_name(source: PreferenceSource) -> str:
    """What a source is called where its rows are told of."""
    paths = [source.path] if isinstance(source.path, str) else source.path or []
    return source.builtin or ", ".join(paths)


def _read(
    source: PreferenceSource, counts: PreferenceCounts, config: Config, log: Log
) -> Iterator[Example]:
    """One source's sound examples."""
    if source.builtin:
        counts.reading = {"packages": questions.packages()}
        yield from answer_pairs.pairs(config.seed)
        return

    reader = PreferenceReader(
        preference_paths(source),
        columns=source.columns,
        largest=config.max_document_bytes,
        on_bad=config.on_bad_file,
        warn=log.warn,
    )
    yield from reader.items()
    reader.check_columns()
    counts.reading = reader.counts.as_dict()


def _remembered(
    examples: Iterator[Example], forgetting: Forgetting, counts: PreferenceCounts
) -> Iterator[Example]:
    """What stays of the examples; the others are counted as found, and as forgotten."""
    for batch in _batches(examples):
        conversations = [one for example in batch for one in example.conversations]
        owner = np.repeat(np.arange(len(batch)), [len(one.wanted) for one in batch])
        gone = set(owner[forgetting.gone(conversations, counts.name)].tolist())
        counts.found += len(gone)
        counts.forgotten += len(gone)
        yield from (example for i, example in enumerate(batch) if i not in gone)


def _as_taken(
    examples: Iterable[Example], each: int, counts: PreferenceCounts
) -> Iterator[Example]:
    """The examples as the loss takes them: pairs, or one answer after the other."""
    for example in examples:
        counts.found += 1
        if each == 1:
            for messages, wanted in zip(example.conversations, example.wanted, strict=True):
                yield Example([messages], [wanted])
        elif len(example.wanted) == 2:
            yield example
        else:
            counts.no_pair += 1


def _batches(examples: Iterator[Example]) -> Iterator[list[Example]]:
    while batch := list(islice(examples, BATCH)):
        yield batch


def _render(
    batch: list[Example],
    number: int,
    counts: PreferenceCounts,
    store: TokenStore,
    tokenizer: Tokenizer,
    config: Config,
    threads: int,
) -> list[bool]:
    """Puts the examples that fit into the store; whether each of their answers is wanted."""
    each, context = len(batch[0].wanted), config.preferences.context or 0
    _, _, starts = render_batch([one for e in batch for one in e.conversations], tokenizer, threads)
    fits = (np.diff(starts) <= context).reshape(-1, each).all(axis=1)
    counts.too_long += int((~fits).sum())

    fitting = [batch[i] for i in np.flatnonzero(fits)]
    conversations = [one for example in fitting for one in example.conversations]
    ids, mask, starts = render_batch(conversations, tokenizer, threads)
    store.append(conversations, ids, mask, np.diff(starts), number)
    return [wanted for example in fitting for wanted in example.wanted]


def _chosen(
    examples: Examples,
    sources: list[PreferenceSource],
    counts: list[PreferenceCounts],
    seed: int,
) -> np.ndarray:
    """Numbers of the examples that are taken, sorted by id: of equal ones the first, of each source
    its limit.
    """
    ids, source_of = examples.id, examples.source
    _, first = np.unique(ids, return_index=True)
    taken = []
    for number, (source, count) in enumerate(zip(sources, counts, strict=True)):
        mine = first[source_of[first] == number]
        count.duplicates = int((source_of == number).sum()) - mine.size
        if source.limit is not None:
            order = np.argsort(mixed(ids[mine], seed, "sample"), kind="stable")
            count.over_limit = max(0, mine.size - source.limit)
            mine = mine[order[: source.limit]]
        count.kept = mine.size
        taken.append(mine)

    together = np.concatenate(taken)
    return together[np.argsort(ids[together], kind="stable")]


def _held_out(
    examples: Examples, chosen: np.ndarray, config: Config, counts: list[PreferenceCounts]
) -> np.ndarray:
    """Which of the ``chosen`` are held out: bool [n]."""
    if not chosen.size:
        raise UserError(
            "preferences.sources: nothing left to learn from; "
            + "; ".join(count.summary() for count in counts)
            + "; bring others, or say in preferences.sources[].columns which column is which"
        )

    asked, fraction = examples.question[chosen], _share_held_out(config)
    try:
        threshold = validation_threshold(asked, fraction, config.seed)
    except ValueError:
        raise UserError(
            f"preferences.sources: {chosen.size:,} left, but all begin with the same question, and "
            "one must be held out and one trained on; bring more"
        ) from None
    return is_validation(asked, fraction, config.seed, threshold)


def _share_held_out(config: Config) -> float:
    """Of the questions. Of two shares by the same hash the larger one holds out all that the other
    does.
    """
    return max(config.preferences.val_fraction, config.sft_data.val_fraction)


def _check_labels(examples: Examples, chosen: np.ndarray, log: Log) -> None:
    """A warning where answers with labels are all good, or all bad."""
    wanted = examples.wanted[examples.conversations(chosen)]
    if wanted.all() or not wanted.any():
        log.warn(
            f"preferences.sources: every label says {bool(wanted[0])!s}, so there is nothing to "
            "tell apart; bring answers of the other kind too"
        )


def _write(
    path: Path,
    store: TokenStore,
    examples: Examples,
    some: np.ndarray,
    tokenizer: Tokenizer,
    config: Config,
) -> dict[str, Any]:
    """Packs and writes ``some`` of the examples; returns the counts for the manifest."""
    table, context = examples.table, config.preferences.context or 0
    lengths = table.length.reshape(-1, examples.each)[some]
    if examples.each == 2:
        order, bounds = lay_pairs(lengths, context)
    else:
        order, bounds = best_fit(lengths[:, 0], context)
    chosen = examples.conversations(some[order])

    settings = as_mapping(config, ("preferences", "seed"), cosmetic=False)
    kept = {name: settings["preferences"][name] for name in SETTINGS}
    kept["val_fraction"] = _share_held_out(config)
    meta = Meta(
        dtype=token_dtype(tokenizer.vocab_size),
        vocab_size=tokenizer.vocab_size,
        eot=tokenizer.eot,
        tokenizer_sha256=tokenizer.sha256,
        config_hash=hashlib.sha256(
            json.dumps([kept, settings["seed"]], sort_keys=True).encode()
        ).hexdigest(),
    )
    wanted, tokens = examples.wanted[chosen], int(table.length[chosen].sum())
    with PreferenceWriter(
        path, meta, context, bounds, wanted, paired=examples.each == 2, expected_tokens=tokens
    ) as writer:
        append_in_order(writer, store, table, chosen)

    packs = bounds.size - 1
    return {
        "examples": some.size,
        "wanted": int(wanted.sum()),
        "tokens": meta.tokens,
        "learned_tokens": writer.learned,
        "packs": packs,
        "efficiency": round(meta.tokens / (packs * context), 5),
    }


def _line(split: str, counts: dict[str, Any], examples: Examples) -> str:
    what = "pairs" if examples.each == 2 else f"answers ({counts['wanted']:,} good)"
    learned = counts["learned_tokens"] / counts["tokens"]
    return (
        f"{split} {counts['examples']:,} {what} in {counts['packs']:,} packs: "
        f"{counts['tokens']:,} tokens, {learned:.1%} of them of answers, "
        f"{1 - counts['efficiency']:.2%} padding"
    )
