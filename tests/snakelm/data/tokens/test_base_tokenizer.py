"""The tokenizer of a run that goes on from a model: kept, or extended on the run's own text; and
what preflight refuses of a base.
"""

import json
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.config import TokenizerConfig
from snakelm.data.tokens.base_tokenizer import check_base, kept_or_extended
from snakelm.errors import UserError
from snakelm.log import Log
from snakelm.tokenizer import CHAT, EOT, Tokenizer, train_bpe
from snakelm.tokenizer.huggingface import tokenizer_json
from snakelm.tokenizer.of_base import tokenizer_of_base

TEXTS = [f"Sentence {i} of the {i % 7} otters, naïve or not." for i in range(200)]
NEW_TEXTS = [f"Another sentence, {i * 31 % 97} herons were counted." for i in range(300)]
TABLE = "model.embed_tokens.weight"


@pytest.fixture
def learned():
    return train_bpe(TEXTS, 300, "cl100k", special_tokens=(EOT,))


def write(folder, tokenizer, rows=300, more=(), **keys):
    """A folder with a base's tokenizer and the heads of its weights."""
    folder.mkdir(exist_ok=True)
    record = {**tokenizer_json(tokenizer), **keys}
    (folder / "tokenizer.json").write_text(json.dumps(record))
    (folder / "config.json").write_text("{}")
    entries = {TABLE: [rows, 1], **{name: [1] for name in more}}
    head = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in entries.items()
    }
    text = json.dumps(head).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return folder


def made(tmp_path, folder, size):
    documents = tmp_path / "documents.parquet"
    ids = pa.array(range(1, len(NEW_TEXTS) + 1), pa.uint64())
    pq.write_table(pa.table({"text": NEW_TEXTS, "id": ids}), documents)
    settings = TokenizerConfig(kind="base", vocab_size=size)
    with Log("train_tokenizer") as log:
        return kept_or_extended(
            documents,
            tokenizer_of_base(folder),
            settings,
            val_fraction=0.1,
            seed=1,
            threads=1,
            log=log,
        )


def test_old_ids_stay_and_new_ones_are_learned_on_the_new_text(tmp_path, learned, capfd):
    folder = write(tmp_path / "base", learned)
    kept = made(tmp_path, folder, 300)
    assert kept.vocab_size == 300 + len(CHAT), "chat tokens behind the base's"
    said = capfd.readouterr().err
    assert "kept: 304 tokens" in said
    assert "warning" not in said
    assert made(tmp_path, folder, 303).vocab_size == 304
    assert "warning: tokenizer.vocab_size: 303 adds no merge" in capfd.readouterr().err
    assert [kept.special_tokens[name] for name in CHAT] == [300, 301, 302, 303]

    extended = made(tmp_path, folder, 340)
    assert extended.vocab_size == 340
    assert extended.plain_tokens()[:304] == kept.plain_tokens()
    assert extended.special_tokens == kept.special_tokens
    for text in (TEXTS[3], NEW_TEXTS[3]):
        assert extended.decode(extended.encode_ordinary(text)) == text
    fewer = len(extended.encode_ordinary(NEW_TEXTS[3]))
    assert fewer < len(kept.encode_ordinary(NEW_TEXTS[3]))

    assert made(tmp_path, folder, 5000).vocab_size < 5000
    assert "the text has no more pairs to merge" in capfd.readouterr().err


def test_a_normaliser_that_is_left_out_is_said(tmp_path, learned, capfd):
    folder = write(tmp_path / "base", learned, normalizer={"type": "NFC"})
    made(tmp_path, folder, 300)
    assert "Unicode's form NFC" in capfd.readouterr().err


def test_preflight_refuses_what_cannot_be_gone_on_from(tmp_path, learned):
    with Log("preflight") as log:
        folder = write(tmp_path / "base", learned, rows=320)
        assert check_base(str(folder), log) == {"tokens": 300}
        write(folder, learned, rows=299)
        with pytest.raises(UserError, match="has 299 rows, its tokenizer 300 ids"):
            check_base(str(folder), log)
        write(folder, learned, more=["model.layers.0.self_attn.q_proj.bias"])
        with pytest.raises(UserError, match=r"q_proj\.bias: a bias"):
            check_base(str(folder), log)
        write(folder, learned, normalizer={"type": "Lowercase"})
        with pytest.raises(UserError, match=r"normalizer \['Lowercase'\]: changes the text"):
            check_base(str(folder), log)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"bos_token_id": 299, "eos_token_id": 304}, "<|begin|>"),
        ({"bos_token_id": None, "eos_token_id": [304, 299]}, "<|stop|>"),
        ({}, None),
    ],
    ids=["begin", "end", "neither"],
)
def test_the_token_that_texts_begin_with_opens_documents(tmp_path, learned, config, name):
    specials = {"<|begin|>": 299, "<|stop|>": 304}
    theirs = Tokenizer(learned.mergeable_ranks, "cl100k", specials)
    folder = write(tmp_path / "base", theirs, rows=320)
    (folder / "config.json").write_text(json.dumps(config))
    found = tokenizer_of_base(folder)
    assert (found.trained, found.renamed) == (305, name)
    assert found.tokenizer.eot == specials.get(name, 305)
