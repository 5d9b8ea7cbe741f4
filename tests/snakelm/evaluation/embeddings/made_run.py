"""A run that embeddings can be made of: documents of every awkward sort and a model small enough
for a test.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from snakelm.config import Model, from_mapping
from snakelm.data.bins import BinWriter, Meta
from snakelm.data.documents.table import SCHEMA, DocumentWriter
from snakelm.data.split import document_id
from snakelm.evaluation.embeddings.generate import EmbeddingFiles, generate
from snakelm.log import Log
from snakelm.model import Decoder, save_model
from snakelm.tokenizer import EOT, Tokenizer

SHAPE = Model(layers=1, width=32, heads=2, kv_heads=1, head_dim=16, hidden=64, context=32)
AWKWARD = [
    "<script>alert(1)</script> & <b>bold</b>",
    "مرحبا بالعالم " * 20,
    "👩‍👩‍👧‍👦" * 50,
    "x" * 1_000_000,
    "a",
    "\u202eturned \x00 around",
]


def write_val(path: Path, tokenizer: Tokenizer, texts: list[str], ids: np.ndarray) -> None:
    """val.bin of ``texts``."""
    with BinWriter(
        path, Meta("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256)
    ) as val:
        for text, number in zip(texts, ids, strict=True):
            tokens = np.array([tokenizer.eot, *tokenizer.encode_ordinary(text)])
            val.append(tokens, np.array([tokens.size]), np.array([number]), len(text.encode()))


def write_documents(path: Path, texts: list[str], group: int = 50) -> np.ndarray:
    """A documents file with row groups of ``group`` rows; gives the ids."""
    ids = [int(document_id(text.encode())) for text in texts]
    with DocumentWriter(path) as writer:
        for first in range(0, len(texts), group):
            rows = [(t, f"source{i % 3}", ids[i], "f.parquet", i) for i, t in enumerate(texts)][
                first : first + group
            ]
            writer.append(
                pa.record_batch([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)
            )
            writer._flush()
    return np.array(ids, np.uint64)


@dataclass
class EmbeddingRun:
    """A run's files that embeddings are made from."""

    folder: Path
    texts: list[str]
    tokenizer: Tokenizer
    files: EmbeddingFiles

    def generate(self, **embeddings: object) -> dict:
        """`generate` on one thread, quietly, with ``embeddings`` keys."""
        config = from_mapping(
            {"embeddings": embeddings, "train": {"device": "cpu", "precision": "fp32"}}
        )
        with Log("test", quiet=True) as log:
            return generate(config, self.files, 1, log)

    def retokenized(self) -> Tokenizer:
        """Another tokenizer in the place of the run's, with the same vocabulary."""
        other = Tokenizer({bytes([i]): i for i in range(256)}, "cl100k", {EOT: 256})
        other.save(self.files.tokenizer)
        return other

    def hold_out(self, tokenizer: Tokenizer) -> None:
        """Rewrites val.bin with ``tokenizer``."""
        write_val(self.files.val, tokenizer, self.texts[:2], np.arange(2, dtype=np.uint64))


def make_run(folder: Path, plain: int = 200, group: int = 50) -> EmbeddingRun:
    """The awkward documents and ``plain`` ones, of which the first 20 are held out."""
    texts = [*AWKWARD, *(f"the value of number {i} is {i * i}" for i in range(plain))]
    ids = write_documents(folder / "documents.parquet", texts, group)
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", {EOT: 256})
    tokenizer.save(folder / "tokenizer")
    write_val(folder / "val.bin", tokenizer, texts[:20], ids[:20])
    model = Decoder(SHAPE, tokenizer.vocab_size).initialize(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in model.parameters():
            if not weight.any():
                weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
    save_model(
        folder / "final_model.pt", model, tokenizer_sha256=tokenizer.sha256, step=1, fingerprint="x"
    )
    files = [
        folder / name for name in ("documents.parquet", "final_model.pt", "tokenizer", "val.bin")
    ]
    return EmbeddingRun(
        folder,
        texts,
        tokenizer,
        EmbeddingFiles(*files, None, folder / "embeddings/documents.parquet"),
    )
