"""The held-out documents that a model finds hardest and easiest, with their text, and all of them
as parquet.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..files import atomic_path
from ..tokenizer import Tokenizer
from .heldout_loss import BITS, HeldOut, Stage

__all__ = ["extremes", "write_documents"]

SHOWN = 6  # documents of each kind
ENOUGH_BYTES = 200  # a shorter document is hard or easy by luck
EXCERPT_TOKENS, EXCERPT = 400, 600  # tokens decoded, characters shown


def extremes(
    held: HeldOut, stages: Mapping[str, Stage], tokenizer: Tokenizer
) -> dict[str, list[dict[str, Any]]]:
    """`hardest` and `easiest` by the base model's bits per byte, the most extreme first."""
    rates = stages["base"].text.nll * BITS / np.maximum(held.bytes, 1)
    long = np.flatnonzero(held.bytes >= ENOUGH_BYTES)
    chosen = long if long.size else np.flatnonzero(held.bytes)
    order = chosen[np.argsort(rates[chosen], kind="stable")]
    count = min(SHOWN, order.size // 2)  # none is both
    if order.size == 1:
        return {"hardest": [_shown(int(order[0]), held, stages, tokenizer)], "easiest": []}
    return {
        "hardest": [_shown(i, held, stages, tokenizer) for i in order[::-1][:count].tolist()],
        "easiest": [_shown(i, held, stages, tokenizer) for i in order[:count].tolist()],
    }


def write_documents(path: str | Path, held: HeldOut, stages: Mapping[str, Stage]) -> None:
    """A row a held-out document, in val.bin's order: where it is from, its size, each stage's bits
    per byte.
    """
    columns = {
        "id": pa.array(held.val.document_ids, pa.uint64()),
        "source": pa.array(held.origins.source, pa.string()),
        "origin_file": pa.array(held.origins.file, pa.string()),
        "origin_row": pa.array(held.origins.row, pa.int64()),
        "bytes": pa.array(held.bytes),
        "tokens": pa.array(held.tokens),
        "clean": pa.array(held.clean),
    }
    for name, stage in stages.items():
        nothing = held.bytes == 0
        rates = stage.text.nll * BITS / np.maximum(held.bytes, 1)
        columns[f"bpb_{name}"] = pa.array(rates, pa.float64(), mask=nothing)
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd", write_page_checksum=True)


def _shown(
    place: int, held: HeldOut, stages: Mapping[str, Stage], tokenizer: Tokenizer
) -> dict[str, Any]:
    tokens = held.val.document(place)[1 : 1 + EXCERPT_TOKENS]
    text = tokenizer.decode(tokens)
    whole = tokens.size == held.tokens[place] and len(text) <= EXCERPT
    rates = {
        f"bpb_{name}": float(stage.text.nll[place] * BITS / held.bytes[place])
        for name, stage in stages.items()
    }
    return {
        "id": str(held.val.document_ids[place]),  # beyond what JSON's readers hold as a number
        "source": held.origins.source[place],
        "file": held.origins.file[place],
        "row": held.origins.row[place],
        "bytes": int(held.bytes[place]),
        "clean": bool(held.clean[place]),
        **rates,
        "text": text if whole else text[: EXCERPT - 1] + "…",
    }
