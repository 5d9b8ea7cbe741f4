"""Documents between steps: their schema, sampling, deduplication, quality, decontamination."""

from .table import SCHEMA, DocumentWriter, open_documents, read_documents

__all__ = ["SCHEMA", "DocumentWriter", "open_documents", "read_documents"]
