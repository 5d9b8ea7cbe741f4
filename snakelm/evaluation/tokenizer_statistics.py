"""tokens.json: what the tokenizer makes of the run's documents: fertility by source, how often each
token is used, examples.

Frequencies are counted over all of train.bin. Fertility is measured on documents chosen by hash, at
most `DOCUMENTS` of a source and `LONGEST` bytes of each: a rate needs no more, and a source of a
terabyte shouldn't take an hour. Bytes and words are those of the same cut, so what is compared is
the same text.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..data.bins import TokenBin, open_bin
from ..data.documents.table import read_documents
from ..data.split import limit_threshold, mixed
from ..tokenizer import Tokenizer
from .records import (
    SourceTokens,
    TextTokens,
    TokenCurve,
    TokenizedText,
    TokenizerRecord,
)

__all__ = ["measure", "summary", "token_counts"]

DOCUMENTS, LONGEST = 2000, 16_384
EXAMPLES, EXAMPLE_TOKENS = 4, 110  # sources that an example is shown of, and tokens of it
SHOWN = 40  # tokens of each list
RARE = 100  # a token that occurs less often is hardly learned
POINTS = 300  # of the curve of frequencies
BLOCK = 1 << 22  # tokens counted at once


@dataclass
class _Counts:
    """What is counted over the documents of a source."""

    documents: int = 0
    bytes: int = 0
    characters: int = 0
    words: int = 0  # between white space
    tokens: int = 0

    def add(self, text: str, tokens: int) -> None:
        """Counts a document in."""
        self.documents += 1
        self.bytes += len(text.encode())
        self.characters += len(text)
        self.words += len(text.split())
        self.tokens += tokens


@dataclass
class _Source:
    """The counts of a source, and the beginning of its document with the smallest hash."""

    counts: _Counts = field(default_factory=_Counts)
    example_hash: int | None = None
    example: list[int] = field(default_factory=list)  # token ids

    def add(self, text: str, tokens: np.ndarray, number: int) -> None:
        """Counts a document in; ``number``: its hash."""
        self.counts.add(text, tokens.size)
        if tokens.size and (self.example_hash is None or number < self.example_hash):
            self.example_hash, self.example = number, tokens[:EXAMPLE_TOKENS].tolist()


def measure(
    documents: str | Path,
    tokenizer_folder: str | Path,
    processed: str | Path,
    seed: int,
    threads: int = 1,
) -> TokenizerRecord:
    """``documents``: those that the token files in the folder ``processed`` were made from."""
    tokenizer = Tokenizer.load(tokenizer_folder)
    train, val = (
        open_bin(Path(processed, name), tokenizer.sha256) for name in ("train.bin", "val.bin")
    )
    sources = _sources(documents, tokenizer, seed, threads)
    with_example = [name for name, source in sources.items() if source.example][:EXAMPLES]

    return TokenizerRecord(
        vocabulary=tokenizer.vocab_size,
        special=sorted(tokenizer.special_tokens, key=tokenizer.special_tokens.__getitem__),
        pattern=tokenizer.pattern,
        bins=[_all_of("all training text", train), _all_of("all held-out text", val)],
        sources=[
            SourceTokens(name=name, **asdict(source.counts)) for name, source in sources.items()
        ],
        examples=[
            TokenizedText(
                source=name, pieces=[_piece(token, tokenizer) for token in sources[name].example]
            )
            for name in with_example
        ],
        **_frequencies(token_counts(train), tokenizer),
    )


def _all_of(name: str, bin_: TokenBin) -> TextTokens:
    """All text of a token file, without the end-of-text token that each document begins with."""
    tokens = bin_.meta.tokens - bin_.meta.documents
    return TextTokens(name=name, bytes=bin_.meta.text_bytes, tokens=tokens)


def _sources(
    documents: str | Path, tokenizer: Tokenizer, seed: int, threads: int
) -> dict[str, _Source]:
    """What was counted of each source, the one with the most documents first."""
    thresholds, sizes = _thresholds(documents, seed)
    sources = {name: _Source() for name in sorted(sizes, key=lambda name: (-sizes[name], name))}

    for texts, names, hashes in _chosen(documents, thresholds, seed):
        ids, offsets = tokenizer.encode_batch(texts, threads)
        for i, (text, name, number) in enumerate(zip(texts, names, hashes, strict=True)):
            sources[name].add(text, ids[offsets[i] : offsets[i + 1]], number)
    return sources


def _thresholds(documents: str | Path, seed: int) -> tuple[dict[str, int], dict[str, int]]:
    """Of each source the hash below which documents are chosen, and how many documents it has."""
    parts: dict[str, list[np.ndarray]] = {}
    for batch in read_documents(documents, ["source", "id"]):
        names, hashes = np.array(batch["source"].to_pylist()), _hashes(batch, seed)
        for name in np.unique(names).tolist():
            parts.setdefault(name, []).append(hashes[names == name])

    hashes_of = {name: np.concatenate(some) for name, some in parts.items()}
    thresholds = {name: limit_threshold(hashes, DOCUMENTS)[0] for name, hashes in hashes_of.items()}
    return thresholds, {name: hashes.size for name, hashes in hashes_of.items()}


def _chosen(
    documents: str | Path, thresholds: dict[str, int], seed: int
) -> Iterator[tuple[list[str], list[str], list[int]]]:
    """Texts, sources and hashes of the chosen documents, a row group at a time. The document that
    has the threshold for its hash is left out.
    """
    for batch in read_documents(documents, ["source", "id", "text"]):
        hashes, names = _hashes(batch, seed).tolist(), batch["source"].to_pylist()
        rows = [
            i
            for i, (number, name) in enumerate(zip(hashes, names, strict=True))
            if number < thresholds[name]
        ]
        if rows:
            texts = batch["text"].take(pa.array(rows)).to_pylist()
            yield (
                [_cut(text) for text in texts],
                [names[i] for i in rows],
                [hashes[i] for i in rows],
            )


def _hashes(batch: pa.RecordBatch, seed: int) -> np.ndarray:
    return mixed(batch["id"].to_numpy(), seed, "tokenizer")


def _cut(text: str) -> str:
    """The first `LONGEST` bytes, down to the last character that fits."""
    if len(text) <= LONGEST // 4:  # no character has more than four bytes
        return text
    return text.encode()[:LONGEST].decode("utf-8", errors="ignore")


def token_counts(bin_: TokenBin) -> np.ndarray:
    """How often each token occurs in a token file: int64 [V]."""
    counts = np.zeros(bin_.meta.vocab_size, np.int64)
    for first in range(0, bin_.meta.tokens, BLOCK):
        counts += np.bincount(bin_.read(first, first + BLOCK), minlength=counts.size)
    return counts


def _frequencies(counts: np.ndarray, tokenizer: Tokenizer) -> dict:
    """The part of the record on the frequencies of the tokens that stand for text: the curve, how
    many never or rarely occur, and lists of some.
    """
    lengths = tokenizer.token_lengths
    ids = np.flatnonzero(lengths > 0)
    order = ids[np.lexsort((ids, -counts[ids]))]  # by falling count, then by id
    falling = counts[order]

    ranks = np.unique(np.geomspace(1, order.size, POINTS).round().astype(np.int64))
    used, never = order[falling > 0], order[falling == 0]
    longest = used[np.argsort(-lengths[used], kind="stable")]

    def with_counts(tokens: np.ndarray) -> list[tuple[str, int]]:
        return [(_piece(i, tokenizer), int(counts[i])) for i in tokens[:SHOWN]]

    return {
        "curve": TokenCurve(rank=ranks.tolist(), count=falling[ranks - 1].tolist()),
        "text_tokens": int(order.size),
        "never": int(never.size),
        "rare": int((falling < RARE).sum()),
        "rare_below": RARE,
        "half": int(np.searchsorted(np.cumsum(falling), falling.sum() / 2) + 1),
        "most": with_counts(order),
        "longest": with_counts(longest),
        "unseen": [_piece(i, tokenizer) for i in never[:SHOWN]],
    }


def _piece(token: int, tokenizer: Tokenizer) -> str:
    """A token's text; bytes that make no character, and characters that can't be shown, as
    `\\xe2\\x82`.
    """
    text = tokenizer.decode_bytes([int(token)]).decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() or c.isspace() else f"\\x{ord(c):02x}" for c in text)


def summary(record: TokenizerRecord) -> str:
    """A line for the log."""
    rates = (
        f"{text.bytes / text.tokens:.2f} bytes a token of {text.name}"
        for text in record.bins
        if text.tokens
    )
    return f"{', '.join(rates)}; {record.never:,} of {record.text_tokens:,} tokens never used"
