"""A run that embeddings can be made of."""

import pytest

from tests.snakelm.evaluation.embeddings.made_run import EmbeddingRun, make_run, write_documents


@pytest.fixture
def make_documents():
    """`make_documents(path, texts, group)`: a documents file with row groups of that many rows;
    gives the ids.
    """
    return write_documents


@pytest.fixture
def run(tmp_path) -> EmbeddingRun:
    """206 documents, of which the first 20 are held out."""
    return make_run(tmp_path)
