"""What the tokenizer makes of the run's documents: fertility by source, how often each token is
used, examples.

Frequencies are counted over all of train.bin. Fertility is measured on documents chosen by hash, at
most `DOCUMENTS` a source and `LONGEST` bytes of each: a rate needs no more, and a source of a
terabyte shouldn't take an hour. Bytes and words are those of the same cut, so what is compared is
the same text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..data.bins import TokenBin, open_bin
from ..data.documents.table import read_documents
from ..data.split import limit_threshold, mixed
from ..tokenizer import Tokenizer

__all__ = ["measure"]

DOCUMENTS, LONGEST = 2000, 16_384
EXAMPLES, EXAMPLE_TOKENS = 4, 110  # sources that an example is shown of, and tokens of it
SHOWN = 40  # tokens of each list
RARE = 100  # seen less often, a token is hardly learned
POINTS = 300  # of the curve of frequencies
BLOCK = 1 << 22  # tokens counted at once


@dataclass
class Rates:
    """Counts over some text."""

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


def measure(
    documents: str | Path,
    tokenizer_folder: str | Path,
    processed: str | Path,
    seed: int,
    threads: int = 1,
) -> dict[str, Any]:
    """What tokenizer.json holds; ``documents``: those that the tokens were made from,
    ``processed``: folder of bins.
    """
    tokenizer = Tokenizer.load(tokenizer_folder)
    train, val = (
        open_bin(Path(processed, name), tokenizer.sha256) for name in ("train.bin", "val.bin")
    )
    sources, examples = _sources(documents, tokenizer, seed, threads)
    return {
        "vocabulary": tokenizer.vocab_size,
        "special": sorted(tokenizer.special_tokens, key=tokenizer.special_tokens.__getitem__),
        "pattern": tokenizer.pattern,
        "bins": [_whole("all training text", train), _whole("all held-out text", val)],
        "sources": [{"name": name, **vars(rates)} for name, rates in sources.items()],
        "examples": examples,
        **_frequencies(_counts(train, tokenizer.vocab_size), tokenizer),
    }


def _whole(name: str, bin_: TokenBin) -> dict[str, Any]:
    """The rates of a whole token file, without the end-of-text token that each document begins
    with.
    """
    return {
        "name": name,
        "bytes": bin_.meta.text_bytes,
        "tokens": bin_.meta.tokens - bin_.meta.documents,
    }


def _sources(
    documents: str | Path, tokenizer: Tokenizer, seed: int, threads: int
) -> tuple[dict[str, Rates], list[dict[str, Any]]]:
    """Rates of each source, the largest first, and an example each of the first few."""
    limits, sizes = _limits(documents, seed)
    found = {name: Rates() for name in sorted(sizes, key=lambda name: (-sizes[name], name))}
    examples: dict[
        str, tuple[int, list[int]]
    ] = {}  # source → the smallest number so far, its tokens
    for texts, names, numbers in _chosen(documents, limits, seed):
        ids, offsets = tokenizer.encode_batch(texts, threads)
        for i, (text, name, number) in enumerate(zip(texts, names, numbers, strict=True)):
            tokens = ids[offsets[i] : offsets[i + 1]]
            found[name].add(text, tokens.size)
            if tokens.size and (name not in examples or number < examples[name][0]):
                examples[name] = (number, tokens[:EXAMPLE_TOKENS].tolist())
    shown = [name for name in found if name in examples][:EXAMPLES]
    return found, [
        {"source": name, "pieces": [_piece(i, tokenizer) for i in examples[name][1]]}
        for name in shown
    ]


def _limits(documents: str | Path, seed: int) -> tuple[dict[str, int], dict[str, int]]:
    """Of each source the number below which documents are taken, and how many documents it has."""
    parts: dict[str, list[np.ndarray]] = {}
    for batch in read_documents(documents, ["source", "id"]):
        names, numbers = np.array(batch["source"].to_pylist()), _numbers(batch, seed)
        for name in np.unique(names).tolist():
            parts.setdefault(name, []).append(numbers[names == name])
    whole = {name: np.concatenate(some) for name, some in parts.items()}
    return {n: limit_threshold(some, DOCUMENTS)[0] for n, some in whole.items()}, {
        n: v.size for n, v in whole.items()
    }


def _chosen(
    documents: str | Path, limits: dict[str, int], seed: int
) -> Iterator[tuple[list[str], list[str], list[int]]]:
    """Texts, sources and numbers of the chosen documents, a row group a time; one with the limit's
    number is left.
    """
    for batch in read_documents(documents, ["source", "id", "text"]):
        numbers, names = _numbers(batch, seed).tolist(), batch["source"].to_pylist()
        rows = [
            i
            for i, (number, name) in enumerate(zip(numbers, names, strict=True))
            if number < limits[name]
        ]
        if rows:
            texts = batch["text"].take(pa.array(rows)).to_pylist()
            yield (
                [_cut(text) for text in texts],
                [names[i] for i in rows],
                [numbers[i] for i in rows],
            )


def _numbers(batch: pa.RecordBatch, seed: int) -> np.ndarray:
    return mixed(batch["id"].to_numpy(), seed, "tokenizer")


def _cut(text: str) -> str:
    """The first `LONGEST` bytes, whole characters."""
    return (
        text
        if len(text) <= LONGEST // 4
        else text.encode()[:LONGEST].decode("utf-8", errors="ignore")
    )


def _counts(train: TokenBin, vocabulary: int) -> np.ndarray:
    """How often each token stands in train.bin: int64 [vocabulary]."""
    counts = np.zeros(vocabulary, np.int64)
    for first in range(0, train.meta.tokens, BLOCK):
        counts += np.bincount(train.read(first, first + BLOCK), minlength=vocabulary)
    return counts


def _frequencies(counts: np.ndarray, tokenizer: Tokenizer) -> dict[str, Any]:
    """Of the tokens that stand for text: the curve, how many are never or rarely seen, and lists of
    some.
    """
    lengths = tokenizer.token_lengths
    ids = np.flatnonzero(lengths > 0)
    order = ids[np.lexsort((ids, -counts[ids]))]
    falling = counts[order]
    places = np.unique(np.geomspace(1, order.size, POINTS).round().astype(np.int64)) - 1
    never = order[falling == 0]
    longest = order[falling > 0][np.argsort(-lengths[order[falling > 0]], kind="stable")]
    return {
        "curve": {"rank": (places + 1).tolist(), "count": falling[places].tolist()},
        "text_tokens": int(order.size),
        "never": int(never.size),
        "rare": int((falling < RARE).sum()),
        "rare_below": RARE,
        "half": int(np.searchsorted(np.cumsum(falling), falling.sum() / 2) + 1),
        "most": [[_piece(i, tokenizer), int(counts[i])] for i in order[:SHOWN]],
        "longest": [[_piece(i, tokenizer), int(counts[i])] for i in longest[:SHOWN]],
        "unseen": [_piece(i, tokenizer) for i in never[:SHOWN]],
    }


def _piece(token: int, tokenizer: Tokenizer) -> str:
    """A token's text; bytes that are no whole character, and characters that can't be shown, as
    `\\xe2\\x82`.
    """
    text = tokenizer.decode_bytes([int(token)]).decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() or c.isspace() else f"\\x{ord(c):02x}" for c in text)
