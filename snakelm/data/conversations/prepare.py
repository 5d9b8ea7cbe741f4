"""Conversations to packed token files: read, rendered, cut or dropped where too long, split,
weighted, packed.

What is held out is decided by the first thing the user says, so a question with two answers is on
one side. The bytes of the files depend on the set of conversations and on the seed, not on the
order of files or rows.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...config import Config, SftSource, as_mapping
from ...errors import UserError
from ...log import Log
from ...tokenizer import Tokenizer
from ..bins import Meta, token_dtype
from ..corpora import questions
from ..packs import PackWriter, best_fit
from ..reading.readers import expand
from ..split import is_validation, mixed, repeats, validation_threshold
from .chat_template import render_batch
from .forget import Forgetting
from .formats import Messages, is_answer
from .reader import ConversationReader
from .token_store import ConversationTable, TokenStore

__all__ = ["append_in_order", "prepare_sft", "shortened", "source_paths"]

BATCH, BATCH_CHARACTERS = 4096, 4 << 20  # conversations, and characters, rendered at a time
GATHERED = 1 << 20  # tokens put in the packs' order at a time


@dataclass
class SftCounts:
    """What became of one source's rows; the field names are the manifest's keys."""

    name: str
    # The reader's counts, or the packages that a built-in source came from.
    reading: dict[str, Any] = field(default_factory=dict)
    found: int = 0  # conversations that could be read
    too_long: int = 0  # dropped
    truncated: int = 0  # kept without their oldest turns
    duplicates: int = 0
    over_limit: int = 0
    forgotten: int = 0
    kept: int = 0
    answers_only_read: int = 0  # of all found and not too long, as their rows say

    def summary(self) -> str:
        """In one line: what came in, what is left, and where the rest went."""
        left_out = {
            **self.reading.get("invalid", {}),
            "longer than the context": self.too_long,
            "duplicate": self.duplicates,
            "over limit": self.over_limit,
            "to be forgotten": self.forgotten,
        }
        reasons = ", ".join(f"{why} {count:,}" for why, count in left_out.items() if count)

        changed = {
            "without their oldest turns": self.truncated,
            "answers read but not learned": self.answers_only_read,
        }
        how = "".join(f"; {count:,} {what}" for what, count in changed.items() if count)
        read = self.reading.get("read", self.found)
        return (
            f"{self.name}: {read:,} rows → {self.kept:,} conversations "
            f"({reasons or 'nothing'} left out{how})"
        )


def source_paths(source: SftSource) -> list[Path]:
    """A source's own files, globs expanded; none for one that is built in."""
    return expand(source.path, "sft_data.sources[].path") if source.path else []


def prepare_sft(
    config: Config, tokenizer: Tokenizer, output: Path, *, threads: int, log: Log
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Writes `train_sft_packed` and `val_sft_packed` (.bin and .idx) into ``output``: (paths by
    split, counts).

    UserError when nothing is left to train on or to hold out.
    """
    sources, context = config.sft_data.sources, config.sft_data.context or 0
    counts = [SftCounts(source.builtin or _name(source)) for source in sources]

    forgetting = Forgetting(config.forget)
    with TokenStore(output) as store:
        for number, source in enumerate(sources):
            _read(
                source, number, counts[number], store, tokenizer, config, forgetting, threads, log
            )
        forgetting.check(log.warn)

        table = store.table()
        chosen = _chosen(table, sources, counts, config.seed)
        for one in counts:
            log.say(one.summary())
        train, val = _split(table, chosen, config, counts)

        paths: dict[str, Path] = {}
        result: dict[str, Any] = {"context": context, "sources": [vars(one) for one in counts]}
        for split, conversations in (("train", train), ("val", val)):
            paths[split] = output / f"{split}_sft_packed.bin"
            meta = Meta(
                dtype=token_dtype(tokenizer.vocab_size),
                vocab_size=tokenizer.vocab_size,
                eot=tokenizer.eot,
                tokenizer_sha256=tokenizer.sha256,
                config_hash=_config_hash(config),
            )
            result[split] = _write(paths[split], store, table, conversations, meta, context)
            log.say(_line(split, result[split], context))
    return paths, result


def shortened(messages: Messages, context: int, tokenizer: Tokenizer) -> Messages | None:
    """The conversation without its oldest pairs of turns, so that it fits; None when even the last
    pair doesn't, or when nothing that fits is to be learned.

    A system prompt stays.
    """
    lengths = [len(tokenizer.encode_ordinary(message["content"])) + 2 for message in messages]
    head = 1 if messages[0]["role"] == "system" else 0
    room = context - 1 - sum(lengths[:head])

    first = len(messages)
    while first - 2 >= head and room >= sum(lengths[first - 2 : first]):
        room -= sum(lengths[first - 2 : first])
        first -= 2
    return messages[:head] + messages[first:] if any(map(is_answer, messages[first:])) else None


def _name(source: SftSource) -> str:
    return source.path if isinstance(source.path, str) else ", ".join(source.path or [])


def _read(
    source: SftSource,
    number: int,
    counts: SftCounts,
    store: TokenStore,
    tokenizer: Tokenizer,
    config: Config,
    forgetting: Forgetting,
    threads: int,
    log: Log,
) -> None:
    """Renders one source's conversations into the store."""
    reader = None
    if source.builtin:
        conversations = questions.conversations(config.seed)
    else:
        reader = ConversationReader(
            source_paths(source),
            shape=source.format,
            columns=source.columns,
            ignore=source.ignore,
            largest=config.max_document_bytes,
            on_bad=config.on_bad_file,
            warn=log.warn,
        )
        conversations = reader.conversations()

    context = config.sft_data.context or 0
    truncate = config.sft_data.too_long == "truncate"
    with log.progress(None, "conversations") as bar:
        for batch in _remembered(_batches(conversations), forgetting, counts):
            ids, mask, starts = render_batch(batch, tokenizer, threads)

            too_long = np.flatnonzero(np.diff(starts) > context).tolist()
            if too_long:
                cut = {
                    i: shortened(batch[i], context, tokenizer) if truncate else None
                    for i in too_long
                }
                counts.truncated += sum(messages is not None for messages in cut.values())
                counts.too_long += sum(messages is None for messages in cut.values())
                fitting = (cut.get(i, messages) for i, messages in enumerate(batch))
                batch = [messages for messages in fitting if messages is not None]
                ids, mask, starts = render_batch(batch, tokenizer, threads)

            counts.answers_only_read += sum(
                not message.get("learned", True) for messages in batch for message in messages
            )
            store.append(batch, ids, mask, np.diff(starts), number)
            bar.update(counts.found, counts.name)

    if reader:
        reader.check_columns()
        counts.reading = {**reader.counts.as_dict(), "unread": reader.unread}
    else:
        counts.reading = {"packages": questions.packages()}


def _remembered(
    batches: Iterator[list[Messages]], forgetting: Forgetting, counts: SftCounts
) -> Iterator[list[Messages]]:
    """What stays of each batch, counted."""
    for batch in batches:
        kept = forgetting.kept(batch, counts.name)
        counts.found += len(batch)
        counts.forgotten += len(batch) - len(kept)
        if kept:
            yield kept


def _batches(conversations: Iterator[Messages]) -> Iterator[list[Messages]]:
    batch: list[Messages] = []
    size = 0
    for messages in conversations:
        batch.append(messages)
        size += sum(len(message["content"]) for message in messages)
        if len(batch) == BATCH or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _chosen(
    table: ConversationTable, sources: list[SftSource], counts: list[SftCounts], seed: int
) -> np.ndarray:
    """Indices of the conversations that are taken, sorted by id: of equal ones the first, of each
    source its limit.
    """
    _, first = np.unique(table.id, return_index=True)
    chosen = []
    for number, (source, count) in enumerate(zip(sources, counts, strict=True)):
        mine = first[table.source[first] == number]
        count.duplicates = int((table.source == number).sum()) - mine.size
        if source.limit is not None:
            order = np.argsort(mixed(table.id[mine], seed, "sample"), kind="stable")
            count.over_limit = max(0, mine.size - source.limit)
            mine = mine[order[: source.limit]]
        count.kept = mine.size
        chosen.append(mine)

    together = np.concatenate(chosen)
    return together[np.argsort(table.id[together], kind="stable")]


def _split(
    table: ConversationTable, chosen: np.ndarray, config: Config, counts: list[SftCounts]
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of what is trained on, each as often as its source's weight says, and of what is held
    out.
    """
    data, seed = config.sft_data, config.seed
    if not chosen.size:
        raise UserError(
            "sft_data.sources: no conversation left to learn from; "
            + "; ".join(count.summary() for count in counts)
            + "; bring others, or name in sft_data.sources[].ignore the columns and keys of turns "
            "that mean something else there"
        )

    questions = table.question[chosen]
    try:
        threshold = validation_threshold(questions, data.val_fraction, seed)
    except ValueError:
        raise UserError(
            f"sft_data.sources: {chosen.size:,} conversations, but all begin with the same "
            "question, and one must be held out and one trained on; bring more"
        ) from None

    held_out = is_validation(questions, data.val_fraction, seed, threshold)
    train = chosen[~held_out]
    times = np.zeros(train.size, np.int64)
    for number, source in enumerate(data.sources):
        mine = table.source[train] == number
        times[mine] = repeats(table.id[train[mine]], source.weight, seed)
    if not times.any():
        raise UserError(
            "sft_data.sources[].weight: no conversation is left to train on; raise the weights"
        )
    return np.repeat(train, times), chosen[held_out]


def _write(
    path: Path,
    store: TokenStore,
    table: ConversationTable,
    chosen: np.ndarray,
    meta: Meta,
    context: int,
) -> dict[str, Any]:
    """Packs and writes the conversations ``chosen``; returns the counts for the manifest."""
    order, bounds = best_fit(table.length[chosen], context)
    chosen = chosen[order]

    with PackWriter(path, meta, context, bounds, int(table.length[chosen].sum())) as writer:
        append_in_order(writer, store, table, chosen)

    packs = bounds.size - 1
    return {
        "conversations": meta.documents,
        "different": int(np.unique(table.id[chosen]).size),
        "tokens": meta.tokens,
        "learned_tokens": writer.learned,
        "text_bytes": meta.text_bytes,
        "packs": packs,
        "efficiency": round(meta.tokens / (packs * context), 5),
    }


def append_in_order(
    writer: PackWriter, store: TokenStore, table: ConversationTable, chosen: np.ndarray
) -> None:
    """Gives ``writer`` the conversations ``chosen``, in this order, a slice of about GATHERED
    tokens at a time.
    """
    ends = np.cumsum(table.length[chosen])
    cuts = np.searchsorted(ends, np.arange(GATHERED, ends[-1], GATHERED), "right")
    cuts = np.unique([0, *cuts, chosen.size])
    for first, last in pairwise(cuts.tolist()):
        some = chosen[first:last]
        tokens, mask = store.gather(table, some)
        writer.append_masked(
            tokens, mask, table.length[some], table.id[some], int(table.bytes[some].sum())
        )


def _line(split: str, counts: dict[str, Any], context: int) -> str:
    learned = counts["learned_tokens"] / counts["tokens"]
    return (
        f"{split} {counts['conversations']:,} conversations in {counts['packs']:,} packs of "
        f"{context}: {counts['tokens']:,} tokens, {learned:.1%} of them to be learned, "
        f"{1 - counts['efficiency']:.2%} padding"
    )


def _config_hash(config: Config) -> str:
    """SHA-256 over what train and val must share."""
    text = json.dumps(as_mapping(config, ("sft_data", "seed"), cosmetic=False), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
