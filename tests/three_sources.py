"""Token files of three sources small enough to train on in a second: two of words, one of letters
in no order.
"""

import random
import string
from pathlib import Path

import numpy as np
import pyarrow as pa

from snakelm.data.bins import BinWriter, Meta
from snakelm.data.documents.table import SCHEMA, DocumentWriter
from snakelm.data.split import document_ids
from snakelm.tokenizer import EOT, Tokenizer

WORDS = {
    "manual": "the function returns a list of values or raises an error when there is none",
    "market": "fresh apples and cheap pears are sold at noon near the old stone bridge today",
}
SOURCES = [{"path": "x", "name": name} for name in (*WORDS, "noise")]
DOCUMENTS, PROCESSED = "data/deduplicated/documents.parquet", "data/processed"
HELD_OUT = 20  # documents of each source


def texts(source: str, count: int, seed: int) -> list[str]:
    """Documents of a source."""
    chance = random.Random(f"{source}{seed}")
    if source in WORDS:
        words = WORDS[source].split()
        return [" ".join(chance.choices(words, k=18)) for _ in range(count)]
    return ["".join(chance.choices(string.ascii_letters, k=100)) for _ in range(count)]


def make(folder: Path, **counts: int) -> Tokenizer:
    """Writes tokenizer, documents and token files; ``counts``: training documents of sources that
    have another number than 100.
    """
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", {EOT: 256})
    tokenizer.save(folder / "tokenizer")
    (folder / PROCESSED).mkdir(parents=True)
    (folder / DOCUMENTS).parent.mkdir(parents=True)
    meta = {name: Meta("uint16", 257, 256, tokenizer.sha256) for name in ("train", "val")}

    with (
        DocumentWriter(folder / DOCUMENTS) as documents,
        BinWriter(folder / PROCESSED / "train.bin", meta["train"]) as train,
        BinWriter(folder / PROCESSED / "val.bin", meta["val"]) as val,
    ):
        for number, source in enumerate(one["name"] for one in SOURCES):
            for writer, count in ((train, counts.get(source, 100)), (val, HELD_OUT)):
                found = texts(source, count, number + 10 * (writer is val))
                ids = document_ids(text.encode() for text in found)
                rows = [found, [source] * count, ids, ["x"] * count, list(range(count))]
                documents.append(pa.record_batch(rows, schema=SCHEMA))
                for text, one in zip(found, ids, strict=True):
                    tokens = np.array([256, *tokenizer.encode_ordinary(text)])
                    lengths, identity = np.array([tokens.size]), np.array([one])
                    writer.append(tokens, lengths, identity, len(text.encode()))
    np.save(folder / PROCESSED / "val_overlap.npy", np.zeros(HELD_OUT * len(SOURCES)))
    return tokenizer
