"""From a run's documents and its model to documents.parquet: opens what is needed, checks that it
belongs together.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...config import Config
from ...data.bins import open_bin
from ...errors import UserError
from ...files import sha256_file, write_text
from ...filter.base import base_folder, base_name
from ...log import Log
from ...model import Decoder, load_model
from ...tokenizer import Tokenizer
from ...training.device import Device, choose_device, choose_threads
from ...workflow.manifest import content_hash
from .choice import choose
from .encoders import Reader, SentenceEncoder
from .table import Facts, Source, began_with, parts_folder, write_embeddings

__all__ = ["Places", "generate"]


@dataclass(frozen=True)
class Places:
    """Files of the run; ``scores`` where a filter scored its documents."""

    documents: Path
    model: Path
    tokenizer: Path
    val: Path
    scores: Path | None
    output: Path


def generate(config: Config, places: Places, threads: int, log: Log) -> dict[str, Any]:
    """Writes ``places.output``; gives what its manifest says: how many documents, how wide, read by
    what.
    """
    tokenizer = Tokenizer.load(places.tokenizer)
    held_out = open_bin(places.val, tokenizer.sha256, verify=False).document_ids
    chosen = choose(places.documents, config.embeddings.documents, config.seed)
    if not len(chosen):
        raise UserError(f"{places.documents}: holds no documents; run the step that makes it again")
    base = base_folder(config.classifier) if config.embeddings.by == "sentence" else None
    parts = parts_folder(places.output, _decides(config, places, base))
    threads = choose_threads(threads, began_with(parts), 1, log.warn)
    write_text(parts / "threads", f"{threads}\n")
    device = choose_device(config.train, threads)
    source = _source(
        _model(places, tokenizer, device), tokenizer, threads, base, config.classifier.max_tokens
    )
    read_by = base_name(config.classifier) if base else places.model.name
    log.say(f"{len(chosen):,} documents, read by {read_by} ({device.description})")
    write_embeddings(
        places.documents,
        chosen,
        source,
        Facts.of(chosen, held_out, places.scores),
        parts,
        places.output,
        log,
    )
    return {"by": config.embeddings.by, "documents": len(chosen), "width": source.width}


def _decides(config: Config, places: Places, base: Path | None) -> list[str]:
    """All that a row depends on, as hashes and words."""
    files = [
        places.documents,
        places.model,
        places.val,
        *([places.scores] if places.scores else []),
    ]
    words = [
        str(config.seed),
        config.train.device,
        config.train.precision,
        str(config.embeddings.documents),
    ]
    sentence = (
        [sha256_file(base / "model.safetensors"), str(config.classifier.max_tokens)] if base else []
    )
    return [*map(content_hash, files), *words, *sentence]


def _model(places: Places, tokenizer: Tokenizer, device: Device) -> Decoder:
    model, record = load_model(places.model, device.device, device.dtype)
    if record["tokenizer"]["sha256"] != tokenizer.sha256:
        raise UserError(
            f"{places.model}: trained with tokenizer {record['tokenizer']['sha256'][:12]}…, {places.tokenizer} is "
            f"{tokenizer.sha256[:12]}…; give the tokenizer it was trained with, or train it again"
        )
    return model


def _source(
    model: Decoder, tokenizer: Tokenizer, threads: int, base: Path | None, max_tokens: int
) -> Source:
    """Our model's vectors, or the sentence model's beside our model's surprise."""
    reader = Reader(model, tokenizer, threads)
    if base is None:
        return Source(model.shape.width, reader.read)
    from ...filter.sentence import CHARACTERS_PER_TOKEN, SentenceModel

    sentence = SentenceModel.load(base, max_tokens)
    encode = SentenceEncoder(sentence.encode, max_tokens * CHARACTERS_PER_TOKEN)
    width = sentence.encode(["a"]).shape[1]
    return Source(
        width, lambda texts, tell: replace(reader.read(texts, tell), vectors=encode(texts))
    )
