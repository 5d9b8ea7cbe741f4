"""What benchmarks/tokenizer.py compares with, and the text it does that on. A peer that isn't
installed, or that doesn't know a vocabulary, is left out with a word.
"""

import gettext
import gzip
import importlib.metadata
import importlib.util
import itertools
import random
import string
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from snakelm.tokenizer import Tokenizer
from snakelm.tokenizer.patterns import tiktoken_regex

CUT = 3000
ENCODINGS = {"gpt2": "r50k_base", "cl100k": "cl100k_base", "o200k": "o200k_base"}

# Encodes documents on one thread, or on all there are; gives (ids end to end, ids per document).
Encode = Callable[[list[str], bool], Any]


def gigatoken(ranks: Path, pattern: str) -> tuple[Encode, Callable[[Any], np.ndarray]]:
    import awkward
    from gigatoken import Tokenizer as Peer

    peer = Peer.from_tiktoken(ranks, pretokenizer=pattern, special_tokens={})
    return (
        lambda texts, parallel: peer.encode_batch(texts, parallel=parallel),
        lambda result: np.asarray(awkward.flatten(result)),
    )


def fastokens(ranks: Path, pattern: str) -> tuple[Encode, Callable[[Any], np.ndarray]]:
    from fastokens import Tokenizer as Peer

    # It knows these expressions by their encoding's name.
    peer = Peer.from_tiktoken(str(ranks), encoding=ENCODINGS[pattern])
    return (
        lambda texts, parallel: peer.encode_batch_flat(texts, split_special_tokens=True),
        lambda result: np.frombuffer(result[0], np.uint32),
    )


def tiktoken(ranks: Path, pattern: str) -> tuple[Encode, Callable[[Any], np.ndarray]]:
    peer = Tokenizer.from_tiktoken(ranks, pattern).to_tiktoken()
    return (
        lambda texts, parallel: [peer.encode_ordinary(text) for text in texts],
        lambda result: np.fromiter((i for ids in result for i in ids), np.uint32),
    )


def snakelm(ranks: Path, pattern: str) -> tuple[Encode, Callable[[Any], np.ndarray]]:
    ours = Tokenizer.from_tiktoken(ranks, pattern)
    return (
        lambda texts, parallel: ours.encode_batch(texts, threads=2 if parallel else 1),
        lambda result: result[0],
    )


PEERS = {
    "snakelm": snakelm,
    "gigatoken": gigatoken,
    "fastokens": fastokens,
    "tiktoken": tiktoken,
}
THREADED = ("snakelm", "gigatoken")


# Trains a vocabulary of so many ids on texts, which a file has one after the other; gives the ranks
# where merges and ties are defined as ours are, else None.
Train = Callable[[list[str], Path, int, str], dict[bytes, int] | None]


def train_rustbpe(texts: list[str], file: Path, ids: int, pattern: str) -> dict[bytes, int] | None:
    import rustbpe

    peer = rustbpe.Tokenizer()
    peer.train_from_iterator(iter(texts), ids, pattern=tiktoken_regex(pattern))
    return {bytes(token): i for token, i in peer.get_mergeable_ranks()}


def train_gigabpe(texts: list[str], file: Path, ids: int, pattern: str) -> dict[bytes, int] | None:
    import gigabpe

    gigabpe.train_bpe([str(file)], ids, threads=1)
    return None


def train_gigatoken(
    texts: list[str], file: Path, ids: int, pattern: str
) -> dict[bytes, int] | None:
    from gigatoken import TextFileSource, train_bpe

    train_bpe(TextFileSource([str(file)]), ids, [])
    return None


TRAINERS: dict[str, Train] = {
    "rustbpe": train_rustbpe,
    "gigabpe": train_gigabpe,
    "gigatoken": train_gigatoken,
}


def is_installed(peer: str) -> bool:
    """Says so where it isn't."""
    found = importlib.util.find_spec(peer) is not None
    if not found:
        print(f"{peer} is left out: not installed (requirements-bench.txt)", file=sys.stderr)
    return found


def version(peer: str) -> str:
    """`gigatoken 0.10.0`."""
    return peer if peer == "snakelm" else f"{peer} {importlib.metadata.version(peer)}"


def present(ranks: Path, pattern: str) -> dict[str, Callable]:
    """The peers that load this vocabulary."""
    found = {}
    for name, make in PEERS.items():
        try:
            make(ranks, pattern)
        except ImportError:
            print(f"{name} is left out: not installed (requirements-bench.txt)", file=sys.stderr)
        except Exception as error:
            why = " ".join(str(error).split())[:100]
            print(f"{name} is left out for {ranks.name}: {why}", file=sys.stderr)
        else:
            found[name] = make
    return found


# Text


def documentation() -> Iterator[str]:
    """Manual pages, and documentation of installed packages."""
    for file in sorted(Path("/usr/share/man").glob("man*/*.gz")):
        yield gzip.decompress(file.read_bytes()).decode("utf-8", "replace")
    yield from installed("rst", "md", "txt")


def code() -> Iterator[str]:
    """Python's own sources and those of installed packages."""
    return installed("py")


def installed(*endings: str) -> Iterator[str]:
    """Files of the standard library and of installed packages, by name."""
    folders = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    for ending in endings:
        for folder in folders:
            for file in sorted(folder.rglob(f"*.{ending}")):
                yield file.read_text(encoding="utf-8", errors="replace")


def localised(*languages: str) -> Iterator[str]:
    """What the machine has in a language: manual pages and translated messages."""
    for language in languages:
        for file in sorted(Path("/usr/share/man").glob(f"{language}*/man*/*.gz")):
            yield gzip.decompress(file.read_bytes()).decode("utf-8", "replace")
        for file in sorted(Path("/usr/share/locale").glob(f"{language}*/LC_MESSAGES/*.mo")):
            try:
                with file.open("rb") as opened:
                    messages = gettext.GNUTranslations(opened)._catalog  # type: ignore[attr-defined]
            except (OSError, UnicodeError):
                continue  # no catalogue of messages, or not in UTF-8
            yield "\n".join(str(text) for text in messages.values())


KINDS: dict[str, Callable[[], Iterable[str]]] = {
    "documentation": documentation,
    "code": code,
    "russian": lambda: localised("ru"),
    "chinese": lambda: localised("zh"),
}


ENGLISH = ("documentation", "code")


def documents_of(kind: str, size: float) -> list[str]:
    """Documents of about a web page's length, up to ``size`` bytes; fewer where the machine has
    no more.
    """
    documents, found = [], 0
    for text in KINDS[kind]():
        for i in range(0, len(text), CUT):
            documents.append(text[i : i + CUT].encode("utf-8", "replace").decode())
            found += len(documents[-1].encode())
            if found >= size:
                return documents
    return documents


def texts_of(kind: str, size: float) -> list[str]:
    """As documents_of, but English goes on with `varied` where the machine has no more."""
    documents = documents_of(kind, size)
    return list(up_to(size, varied(documents))) if kind in ENGLISH else documents


def varied(texts: list[str], seed: int = 0) -> Iterator[str]:
    """The texts without end. After the first round half of them have two letters exchanged, other
    ones each time: a round has new words, as the next gigabyte of a corpus has.
    """
    source = random.Random(seed)
    yield from texts
    pairs = list(itertools.combinations(string.ascii_lowercase, 2))
    while True:
        a, b = source.choice(pairs)
        exchange = str.maketrans(a + b, b + a)
        for text in texts:
            yield text.translate(exchange) if source.random() < 0.5 else text


def up_to(size: float, texts: Iterable[str]) -> Iterator[str]:
    """The first texts that reach ``size`` bytes together."""
    found = 0
    for text in texts:
        yield text
        found += len(text.encode())
        if found >= size:
            return
