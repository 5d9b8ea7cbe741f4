"""Ids equal tiktoken's and tokenizers' with OpenAI's own vocabularies; skipped without
(fetch_vocabularies.py).
"""

import base64
import hashlib
import os
from pathlib import Path

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings

from snakelm.errors import UserError
from snakelm.tokenizer import CHAT, EOT, Tokenizer
from snakelm.tokenizer.published import KNOWN, KnownEncoding, published

from .test_exactness import TEXTS, first_difference

FOLDER = Path(os.environ.get("SNAKELM_VOCABULARIES", Path.home() / ".cache/snakelm/vocabularies"))


@pytest.fixture(scope="module", params=KNOWN.values(), ids=lambda known: known.name)
def known(request):
    if not (FOLDER / f"{request.param.name}.tiktoken").is_file():
        pytest.skip(
            f"no vocabularies in {FOLDER}: run python tests/snakelm/tokenizer/fetch_vocabularies.py"
        )
    return request.param


@pytest.fixture(scope="module")
def tokenizer(known) -> Tokenizer:
    return published(FOLDER / f"{known.name}.tiktoken", "cl100k")


@pytest.fixture(scope="module")
def reference(tokenizer):
    return tokenizer.to_tiktoken()


def test_pattern_and_end_of_text_are_known(tokenizer, known):
    assert (tokenizer.pattern, tokenizer.eot) == (known.pattern, known.eot)
    assert tokenizer.vocab_size == max(
        known.eot, max(tokenizer.mergeable_ranks.values())
    ) + 1 + len(CHAT)


def test_ids_of_every_code_point_equal_tiktokens(tokenizer, reference, every_code_point):
    for context, text in every_code_point[:4]:
        assert first_difference(tokenizer, reference, text) is None, context


def test_ids_of_texts_equal_tiktokens(tokenizer, reference, nasty, documents):
    for text in nasty + documents:
        assert tokenizer.encode_ordinary(text) == reference.encode_ordinary(text), text


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TEXTS)
def test_ids_of_generated_texts_equal_tiktokens(tokenizer, reference, text):
    ids = tokenizer.encode_ordinary(text)
    assert ids == reference.encode_ordinary(text)
    assert tokenizer.decode(ids) == text


def test_saved_it_loads_here_and_in_tokenizers_with_equal_ids(
    tokenizer, nasty, documents, tmp_path
):
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).sha256 == tokenizer.sha256
    exported = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in nasty[::4] + documents:
        if EOT not in text:
            assert exported.encode(text).ids == tokenizer.encode_ordinary(text), text


def test_without_special_tokens_the_hole_of_p50k_is_an_unused_id(known):
    bare = Tokenizer.from_tiktoken(FOLDER / f"{known.name}.tiktoken", known.pattern)
    assert bare.unused_ids == ([50256] if known.name == "p50k_base" else [])
    assert bare.vocab_size == max(bare.mergeable_ranks.values()) + 1


def test_a_published_file_has_its_own_pattern_and_no_other(tmp_path, monkeypatch):
    data = b"".join(b"%s %d\n" % (base64.b64encode(bytes([i])), i) for i in range(256))
    ours = KnownEncoding("ours", "o200k", 256)
    monkeypatch.setitem(KNOWN, hashlib.sha256(data).hexdigest(), ours)
    (tmp_path / "ours.tiktoken").write_bytes(data)
    for pattern in ("o200k", "cl100k"):  # its own, and the default, which nobody need have given
        assert published(tmp_path / "ours.tiktoken", pattern).pattern == "o200k"
    with pytest.raises(UserError, match=r"tokenizer\.pattern: found 'gpt2'.* ours as it was"):
        published(tmp_path / "ours.tiktoken", "gpt2")
