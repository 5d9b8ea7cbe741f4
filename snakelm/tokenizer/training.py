"""Training of byte-level BPE merges from texts in memory or streamed from parquet.

The algorithm is that of Sennrich et al. (2016) on bytes: start from the 256 bytes, and again and
again merge the pair of tokens that occurs most often within words, of equals the one with the
smaller left id, then the smaller right id. The result depends on the texts alone: not on their
order, on batches or on threads.

Only distinct words and their counts are kept (csrc/text/trainer.h), so memory grows with the
vocabulary of the text and not with its length: 30 to 70 MB for 50 MB of documentation. Where it
would exceed ``memory_mb``, training refuses: dropping rare words would give other merges.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from snakelm import _text

from ..arrow import ArrowTexts, arrow_chunks, arrow_rows, is_arrow
from ..errors import UserError
from ..parquet import open_parquet
from .arguments import at_least, special_names
from .patterns import PATTERNS, pattern_name
from .special import EOT
from .split_elsewhere import SplitTrainer
from .tokenizer import Tokenizer

__all__ = ["counted_words", "train_bpe", "training_facts"]

BYTES = 256
BATCH_ROWS = 1024
MEMORY_MB = 4096
Texts: TypeAlias = str | Path | Iterable[str | Path | ArrowTexts] | ArrowTexts


def train_bpe(
    texts: Texts,
    vocab_size: int,
    pattern: str = "gpt2",
    threads: int = 1,
    special_tokens: Sequence[str] = (EOT,),
    *,
    or_fewer: bool = False,
    memory_mb: int = MEMORY_MB,
) -> Tokenizer:
    """A tokenizer of ``vocab_size`` ids: 256 bytes, then the merges, then the special tokens.

    Takes texts (str), Arrow string arrays, parquet files (their column `text`), or an iterable of
    these. A Path, a single str, or a str ending in `.parquet` that names a file is a file; any
    other str is a text. Missing values are skipped. UserError where the texts have too few
    different pairs for the size; ``or_fewer``: the vocabulary is as large as they allow then. A
    UserError as well where their different words need more than ``memory_mb``.
    """
    names = special_names(special_tokens, "train_bpe")
    merges = at_least(0, vocab_size, "train_bpe", "vocab_size") - BYTES - len(names)
    if merges < 1:
        raise UserError(
            f"vocab_size: found {vocab_size}; expected at least {BYTES + len(names) + 1} "
            f"({', '.join(['bytes', 'one merge', *names])})"
        )

    pattern = pattern_name(pattern)
    trainer = counted_words("train_bpe", texts, pattern, threads, memory_mb)
    pairs = trainer.train(merges)
    if len(pairs) < (1 if or_fewer else merges):
        fewer = f", or vocab_size at most {BYTES + len(pairs) + len(names)}" if pairs else ""
        raise UserError(
            f"vocab_size: {vocab_size} needs {merges} merges; {trainer.bytes} bytes of text with "
            f"{trainer.distinct_pieces} different words gave {len(pairs)}; give more text{fewer}"
        )

    tokens = [bytes([b]) for b in range(BYTES)]
    for left, right in pairs:
        tokens.append(tokens[left] + tokens[right])
    ranks = {token: rank for rank, token in enumerate(tokens)}
    specials = {name: len(ranks) + i for i, name in enumerate(names)}
    return Tokenizer(ranks, pattern, specials, training_facts(trainer))


def training_facts(trainer: _text.Trainer) -> dict[str, int]:
    """What a trainer has seen."""
    return {
        "bytes": trainer.bytes,
        "words": trainer.pieces,
        "distinct_words": trainer.distinct_pieces,
    }


def counted_words(
    call: str, texts: Texts, pattern: str, threads: int, memory_mb: int
) -> _text.Trainer:
    """A trainer that has counted the words of the texts, for the function ``call``; ``pattern`` as
    `pattern_name` gives it.
    """
    threads = at_least(1, threads, call, "threads")
    most_memory = at_least(1, memory_mb, call, "memory_mb") << 20
    make = _text.Trainer if pattern in PATTERNS else SplitTrainer
    trainer = make(pattern, threads, most_memory)

    for batch in _batches(texts, call):
        try:
            _add(trainer, batch)
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"tokenizer: {error}; train on less text (tokenizer.train_mb), or from Python "
                f"allow more ({call}(…, memory_mb=…))"
            ) from None
    return trainer.core if isinstance(trainer, SplitTrainer) else trainer


def _add(trainer: _text.Trainer | SplitTrainer, batch: list[str] | ArrowTexts) -> None:
    if not is_arrow(batch):
        trainer.add_strings(batch)
        return

    batch = batch.drop_null() if batch.null_count else batch
    if isinstance(trainer, SplitTrainer):
        trainer.add_strings(arrow_rows(batch))
        return
    chunks, owners = arrow_chunks(batch)
    trainer.add_arrow(chunks)
    del owners  # the buffers had to live until here


def _batches(texts: Texts, call: str) -> Iterator[list[str] | ArrowTexts]:
    """Lists of str and Arrow arrays, none of them large where the source need not be in memory."""
    if isinstance(texts, str) and not os.path.exists(texts):
        raise UserError(f"{call}: no file {texts[:60]!r}; a text is given in a list, [text]")
    if isinstance(texts, str | Path):
        yield from _parquet(Path(texts))
        return
    if is_arrow(texts):
        yield texts
        return
    if not isinstance(texts, Iterable):
        found = type(texts).__name__
        raise TypeError(f"{call}: expected texts, or the path of a parquet file; found {found}")

    waiting: list[str] = []
    for item in texts:
        if is_arrow(item):
            yield item
        elif _is_file(item):
            yield from _parquet(Path(item))
        elif isinstance(item, str):
            waiting.append(item)
            if len(waiting) == BATCH_ROWS:
                yield waiting
                waiting = []
        else:
            raise TypeError(
                f"{call}: expected str, Path or Arrow array, found {type(item).__name__}"
            )
    yield waiting


def _is_file(item: object) -> bool:
    if isinstance(item, Path):
        return True
    return isinstance(item, str) and item.endswith(".parquet") and Path(item).is_file()


def _parquet(path: Path) -> Iterator[pa.Array]:
    """The column `text` in batches, read as they are needed."""
    with open_parquet(path, columns=["text"]) as file:
        for batch in file.batches(["text"]):
            yield batch.column(0)
