"""What pretraining goes on from: the same function as transformers computes, old ids untouched, new
ones from the pieces that they merge.
"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from snakelm.config import Model
from snakelm.config.huggingface import read_config_json, shape_of
from snakelm.errors import UserError
from snakelm.model import Decoder, save_model
from snakelm.model.base import from_base, pieces_of
from snakelm.model.export import export
from snakelm.tokenizer import CHAT, EOT, Tokenizer, extend_vocabulary, train_bpe
from snakelm.tokenizer.huggingface import tokenizer_json
from snakelm.tokenizer.of_base import tokenizer_of_base

SMALL = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32}
TEXTS = [f"Sentence {i} of the {i % 7} otters, naïve or not." for i in range(200)]
NEW_TEXTS = [f"Another sentence, {i * 31 % 97} herons were counted." for i in range(300)]
BEGIN = "<|begin_of_text|>"


@pytest.fixture(scope="module")
def words():
    """A tokenizer with a beginning of text of its own name, as a Llama has, and gaps above it."""
    learned = train_bpe(TEXTS, 300, "cl100k", special_tokens=(BEGIN,))
    return Tokenizer(learned.mergeable_ranks, "llama3", {BEGIN: 299, "<|pad|>": 303})


def made_by_transformers(folder, words, kind="Qwen3", shards="1GB", **keys):
    """A folder as people have it: weights in transformers' hand, 16 rows more than tokens."""
    transformers = pytest.importorskip(
        "transformers", reason="transformers not installed: requirements-dev.txt has it"
    )
    config = getattr(transformers, f"{kind}Config")(**SMALL, bos_token_id=299, **keys)
    torch.manual_seed(1)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape)
    model.save_pretrained(folder, max_shard_size=shards)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(words)))
    return model


def shape_in(folder):
    return shape_of(folder, read_config_json(folder))


FOLDERS = {
    "Qwen3": {"head_dim": 16},
    "Qwen3, tied": {"head_dim": 16, "tie_word_embeddings": True},
    "Qwen3, in shards": {"head_dim": 8, "shards": "20KB"},
    "Llama": {"kind": "Llama", "rms_norm_eps": 1e-5, "rope_theta": 5e5},
}


@pytest.mark.parametrize("name", FOLDERS)
@torch.no_grad()
def test_a_base_is_the_function_that_transformers_computes(tmp_path, words, name):
    theirs = made_by_transformers(tmp_path, words, **FOLDERS[name])
    assert (len(list(tmp_path.glob("model-*.safetensors"))) > 1) is ("shards" in name)
    tokenizer, trained, renamed = tokenizer_of_base(tmp_path)
    assert (trained, renamed, tokenizer.eot) == (304, BEGIN, 299)
    assert tokenizer.vocab_size == 304 + len(CHAT)

    model = from_base(tmp_path, shape_in(tmp_path), tokenizer).eval()
    ids = torch.randint(0, trained, (2, 32), generator=torch.Generator().manual_seed(0))
    ours, there = model(ids)[..., :trained], theirs(ids).logits[..., :trained]
    assert (ours - there).abs().max() < 1e-4 * max(1.0, float(there.abs().max()))


@torch.no_grad()
def test_a_table_that_was_written_twice_must_be_the_same(tmp_path, words):
    theirs = made_by_transformers(tmp_path, words, head_dim=16, tie_word_embeddings=True)
    weights = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in weights
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    tokenizer = tokenizer_of_base(tmp_path).tokenizer
    model, ids = from_base(tmp_path, shape_in(tmp_path), tokenizer).eval(), torch.arange(32)[None]
    torch.testing.assert_close(model(ids)[..., :304], theirs(ids).logits[..., :304])

    weights["lm_head.weight"][5] += 1
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="ties embedding and head"):
        from_base(tmp_path, shape_in(tmp_path), tokenizer)


@torch.no_grad()
def test_new_rows_are_the_mean_of_what_they_merge_and_old_ones_stay(tmp_path, words):
    theirs = made_by_transformers(tmp_path, words, head_dim=16).state_dict()
    base = tokenizer_of_base(tmp_path)
    extended = extend_vocabulary(base.tokenizer, NEW_TEXTS, 30)
    model = from_base(tmp_path, shape_in(tmp_path), extended)

    tables = {"embedding": "model.embed_tokens.weight", "head": "lm_head.weight"}
    pieces = pieces_of(extended, base.trained)
    assert max(map(len, pieces)) > 2, "merges of merges"
    for ours, name in tables.items():
        table, old = getattr(model, ours), theirs[name][: base.trained]
        assert torch.equal(table[: base.trained], old)
        for i, ids in enumerate(pieces, base.trained):
            expected = old[ids].mean(0) if ids else old.mean(0)
            torch.testing.assert_close(table[i], expected)

    for token, i in extended.mergeable_ranks.items():
        if i >= base.trained:
            spelled = base.tokenizer.decode_bytes(pieces[i - base.trained])
            assert spelled == token, "the pieces are what the token spells"


@torch.no_grad()
def test_a_run_s_own_file_and_its_export_are_the_same_base(tmp_path):
    tokenizer = train_bpe(TEXTS, 300, "cl100k", special_tokens=(EOT, *CHAT))
    tokenizer.save(tmp_path / "tokenizer")
    shape = Model(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=32)
    model = Decoder(shape, tokenizer.vocab_size).initialize(torch.Generator().manual_seed(1))
    model.head.normal_(0, 0.5)
    about = {"tokenizer_sha256": tokenizer.sha256, "step": 1, "fingerprint": "0" * 16}
    save_model(tmp_path / "final_model.pt", model, **about)
    export(tmp_path / "final_model.pt", tokenizer, tmp_path / "final", "")

    ids, short = torch.arange(16)[None], shape.model_copy(update={"context": 16})
    own = from_base(tmp_path / "final_model.pt", short, tokenizer)
    assert torch.equal(own.eval()(ids), model.eval()(ids))
    found = tokenizer_of_base(tmp_path / "final")
    assert found.tokenizer.sha256 == tokenizer.sha256, "nothing to add, nothing renamed"
    folded = short.model_copy(update={"embedding_norm": False})
    back = from_base(tmp_path / "final", folded, tokenizer)
    torch.testing.assert_close(back.eval()(ids), model(ids), atol=1e-5, rtol=0)

    with pytest.raises(UserError, match=r"model\.layers is 2, expected 3"):
        from_base(tmp_path / "final", folded.model_copy(update={"layers": 3}), tokenizer)
    other = train_bpe(NEW_TEXTS, 300, "cl100k", special_tokens=(EOT, *CHAT))
    with pytest.raises(UserError, match="neither the run's"):
        from_base(tmp_path / "final", folded, other)
    other.save(tmp_path / "tokenizer")
    with pytest.raises(UserError, match="trained with another tokenizer than the one in"):
        from_base(tmp_path / "final_model.pt", short, other)
