"""The made-up model and results folder of `made`, as fixtures."""

import pytest

from tests.snakelm.evaluation import made


@pytest.fixture(scope="session")
def tokenizer():
    return made.make_tokenizer()


@pytest.fixture(scope="session")
def model(tokenizer):
    return made.build_model(tokenizer)


@pytest.fixture
def make_bin(tmp_path, tokenizer):
    """`make_bin(texts, name)` writes a token file; gives its path."""
    return lambda texts, name="val": made.write_bin(tmp_path / f"{name}.bin", texts, tokenizer)


@pytest.fixture
def results(tmp_path, tokenizer):
    return made.make_results(tmp_path / "results", tokenizer)
