"""What a plan knows of a run's text before it is prepared: how many bytes there are, how many a
token stands for in a vocabulary of each size, how hard they are to predict.

Measured on a sample that is never of held-out documents. One vocabulary is trained, the largest;
the smaller ones are its first merges, as they would have been learned from the same text.
"""

import itertools
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..arrow import ArrowTexts
from ..data.bins import BinWriter, Meta, TokenBin, open_bin
from ..data.documents.table import by_source
from ..data.tokens.tokenizer_sample import training_documents
from ..errors import UserError
from ..parquet import open_parquet
from ..tokenizer import CHAT, EOT, Tokenizer, train_bpe

__all__ = ["PlanText", "difficulty_of", "read_text"]

MERGED, CODED, TOKENISED = 16_000_000, 2_000_000, 4_000_000  # bytes of the samples
BATCH_BYTES = 8  # of the sample for a token of a batch: one must fit into it
XZ_PRESET = 6
AGAIN = "run deduplicate again"


@dataclass(frozen=True)
class PlanText:
    """A run's text. ``epoch_bytes``: of an epoch, were nothing held out, each document as often as
    its source's weight says; ``different_bytes``: of these, copies counted once. ``sample``: Arrow
    arrays of about 4 MB, to make token files of.
    """

    documents: int
    text_bytes: int
    epoch_bytes: float
    different_bytes: float
    difficulty: float  # bits per byte of xz
    sample: Sequence[ArrowTexts]
    tokenizer: Tokenizer

    def bytes_per_token(self, vocab_size: int, threads: int) -> float:
        """Of the sample, end-of-text tokens counted, in a vocabulary of this size."""
        tokenizer = shortened(self.tokenizer, vocab_size)
        tokens = sum(
            len(tokenizer.encode_batch(texts, threads, eot=True)[0]) for texts in self.sample
        )
        return _bytes(self.sample) / tokens

    def token_file(self, path: Path, vocab_size: int, threads: int) -> TokenBin:
        """Writes the sample as a token file for training steps."""
        tokenizer = shortened(self.tokenizer, vocab_size)
        meta = Meta("uint16" if vocab_size <= 1 << 16 else "uint32", vocab_size, tokenizer.eot, "")
        ids = itertools.count()
        with BinWriter(path, meta) as writer:
            for texts in self.sample:
                tokens, offsets = tokenizer.encode_batch(texts, threads, eot=True)
                numbers = np.array([next(ids) for _ in range(len(texts))], np.uint64)
                writer.append(tokens, np.diff(offsets), numbers, _bytes([texts]))
        return open_bin(path)


def read_text(
    documents: Path,
    pattern: str,
    vocab_size: int,
    batch_tokens: int,
    val_fraction: float,
    seed: int,
    threads: int,
    weights: Mapping[str, float],
) -> PlanText:
    """What a plan has to know of ``documents``, parquet with `text`, `source` and `id`;
    ``vocab_size``: of the largest vocabulary, ``batch_tokens``: of the largest batch that is asked
    for, ``weights``: of the sources. UserError where there is no text.
    """
    count, sizes = 0, dict.fromkeys(weights, 0)
    columns = ["text", "source"]
    with open_parquet(documents, columns=[*columns, "id"], remedy=AGAIN) as file:
        for batch in file.batches(columns):
            count += batch.num_rows
            lengths = pc.fill_null(pc.binary_length(batch.column("text")), 0).to_numpy()
            for name, rows in by_source(batch):
                sizes[name] = sizes.get(name, 0) + int(lengths[rows].sum())
    size = sum(sizes.values())
    if unknown := sizes.keys() - weights.keys():
        raise UserError(
            f"{documents}: documents of source {min(unknown)!r}, and the configuration has no such "
            f"source; {AGAIN}"
        )
    if not size:
        raise UserError(f"{documents}: {count} documents and no text in them; look at `sources`")

    def sample(budget: int) -> list[ArrowTexts]:
        chosen = training_documents(documents, budget, val_fraction=val_fraction, seed=seed)
        return list(chosen)

    special = (EOT, *CHAT)
    tokenizer = train_bpe(
        sample(MERGED), vocab_size, pattern, threads, special_tokens=special, or_fewer=True
    )

    return PlanText(
        count,
        size,
        sum(weights[name] * of_source for name, of_source in sizes.items()),
        sum(min(1.0, weights[name]) * of_source for name, of_source in sizes.items()),
        _difficulty(sample(CODED)),
        sample(max(TOKENISED, BATCH_BYTES * batch_tokens)),
        tokenizer,
    )


def difficulty_of(documents: Path, val_fraction: float, seed: int) -> float:
    """Bits per byte that xz makes of a sample of the documents."""
    return _difficulty(
        list(training_documents(documents, CODED, val_fraction=val_fraction, seed=seed))
    )


def shortened(tokenizer: Tokenizer, vocab_size: int) -> Tokenizer:
    """The tokenizer with as many of its merges as a vocabulary of this size has."""
    if vocab_size >= tokenizer.vocab_size:
        return tokenizer
    plain = vocab_size - len(tokenizer.special_tokens)
    ranks = {piece: rank for piece, rank in tokenizer.mergeable_ranks.items() if rank < plain}
    special = {name: plain + i for i, name in enumerate(tokenizer.special_tokens)}
    return Tokenizer(ranks, tokenizer.pattern, special)


def _bytes(texts: Sequence[ArrowTexts]) -> int:
    return sum(pc.sum(pc.binary_length(array)).as_py() or 0 for array in texts)


def _difficulty(texts: Sequence[ArrowTexts]) -> float:
    coder, read, written = lzma.LZMACompressor(preset=XZ_PRESET), 0, 0
    for array in texts:
        chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        for value in itertools.chain.from_iterable(chunks):
            text = (value.as_py() or "").encode()
            read += len(text)
            written += len(coder.compress(text))
    written += len(coder.flush())
    return 8 * written / max(1, read)
