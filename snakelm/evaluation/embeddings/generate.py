"""The step generate_embeddings: opens a run's documents and its model, checks that they belong
together, and writes documents.parquet.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ...config import Classifier, Config
from ...data.bins import open_bin
from ...device import Device, choose_threads, set_up_device
from ...errors import UserError
from ...files import sha256_file
from ...filter.base import base_folder, base_name
from ...log import Log
from ...model import Decoder, load_model
from ...tokenizer import Tokenizer
from ...workflow.manifest import content_hash
from .encoders import LanguageModelEncoder, SentenceEncoder, by_model, by_sentence_model
from .selection import DocumentFacts, select_documents
from .table import DocumentEncoder, EmbeddingParts, write_embeddings

__all__ = ["EmbeddingFiles", "EmbeddingSummary", "generate"]


@dataclass(frozen=True)
class EmbeddingFiles:
    """Files of the run; ``scores`` where a filter scored its documents."""

    documents: Path
    model: Path
    tokenizer: Path
    val: Path
    scores: Path | None
    output: Path


class EmbeddingSummary(TypedDict):
    """What the manifest says of the vectors."""

    by: str  # embeddings.by
    documents: int
    width: int


def generate(config: Config, files: EmbeddingFiles, threads: int, log: Log) -> EmbeddingSummary:
    """Writes ``files.output``, or continues where a killed run stopped; at most ``threads``."""
    tokenizer = Tokenizer.load(files.tokenizer)
    held_out = open_bin(files.val, tokenizer.sha256, verify=False).document_ids
    selection = select_documents(files.documents, config.embeddings.documents, config.seed)
    if not len(selection):
        raise UserError(f"{files.documents}: holds no documents; run the step that makes it again")

    # The number of threads changes the order of sums, and with it the last digits of a vector.
    base = base_folder(config.classifier) if config.embeddings.by == "sentence" else None
    parts = EmbeddingParts.open(files.output, _depends_on(config, files, base))
    threads = choose_threads(threads, parts.threads, 1, log.warn)
    parts.begin(threads)

    device = set_up_device(config.train.device, config.train.precision, threads)
    encoder = _encoder(
        _model(files, tokenizer, device),
        tokenizer,
        config.classifier if base else None,
        base,
        threads,
    )
    model_name = base_name(config.classifier) if base else files.model.name
    log.say(f"{len(selection):,} documents, vectors by {model_name} ({device.description})")

    facts = DocumentFacts.of(selection, held_out, files.scores)
    write_embeddings(files.documents, selection, encoder, facts, parts, files.output, log)
    return {"by": config.embeddings.by, "documents": len(selection), "width": encoder.width}


def _depends_on(config: Config, files: EmbeddingFiles, base: Path | None) -> list[str]:
    """Everything that a row depends on: hashes of files, and settings."""
    inputs = [files.documents, files.model, files.val, *([files.scores] if files.scores else [])]
    settings = [
        str(config.seed),
        config.train.device,
        config.train.precision,
        str(config.embeddings.documents),
    ]
    if base is not None:
        settings += [sha256_file(base / "model.safetensors"), str(config.classifier.max_tokens)]
    return [*map(content_hash, inputs), *settings]


def _model(files: EmbeddingFiles, tokenizer: Tokenizer, device: Device) -> Decoder:
    model, record = load_model(files.model, device.device, device.dtype)
    trained_with = record["tokenizer"]["sha256"]
    if trained_with != tokenizer.sha256:
        raise UserError(
            f"{files.model}: trained with tokenizer {trained_with[:12]}…, {files.tokenizer} is "
            f"{tokenizer.sha256[:12]}…; give the tokenizer it was trained with, or train it again"
        )
    return model


def _encoder(
    model: Decoder,
    tokenizer: Tokenizer,
    classifier: Classifier | None,
    base: Path | None,
    threads: int,
) -> DocumentEncoder:
    """Our model's vectors, or where ``base`` is given the sentence model's beside our losses."""
    language_model = LanguageModelEncoder(model, tokenizer, threads)
    if base is None or classifier is None:
        return by_model(language_model)

    # sentence-transformers takes seconds to import: only where it is used.
    from ...filter.sentence import CHARACTERS_PER_TOKEN, SentenceModel

    body = SentenceModel.load(base, classifier.max_tokens)
    sentence = SentenceEncoder(body.encode, classifier.max_tokens * CHARACTERS_PER_TOKEN)
    return by_sentence_model(language_model, sentence)
