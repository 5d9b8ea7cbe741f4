"""The exported model: the same function in transformers, and the same weights when it comes
back.
"""

import json

import pytest
import torch
from safetensors.torch import save_file

from snakelm.config import Model
from snakelm.errors import UserError
from snakelm.model import Decoder
from snakelm.model.huggingface import (
    Ends,
    from_huggingface,
    huggingface_config,
    huggingface_weights,
)

transformers = pytest.importorskip(
    "transformers", reason="transformers not installed: requirements-dev.txt has it"
)

VOCAB = 77
SMALL = Model(
    layers=3, width=48, heads=4, kv_heads=2, head_dim=16, hidden=80, context=64, rope_base=5000.0
)
SHAPES = {
    "Qwen3": SMALL,
    "Qwen3, no norm after the embedding": SMALL.model_copy(update={"embedding_norm": False}),
    "Qwen3, tied": SMALL.model_copy(update={"embedding_norm": False, "tie_embeddings": True}),
    "Llama": SMALL.model_copy(update={"qk_norm": False}),
    "as many keys as queries, head wider than width / heads": SMALL.model_copy(
        update={"kv_heads": 4, "head_dim": 20}
    ),
}


@pytest.fixture(params=SHAPES)
def model(request, talkative):
    return talkative(SHAPES[request.param], VOCAB)


def write(model, folder):
    """The model as `export` writes it, without what isn't the network."""
    folder.mkdir(exist_ok=True)
    save_file(huggingface_weights(model), folder / "model.safetensors", metadata={"format": "pt"})
    last = model.vocab_size - 1
    config = huggingface_config(model.shape, model.vocab_size, Ends(last, [max(0, last - 1), last]))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def folder(model, tmp_path):
    return write(model, tmp_path)


@torch.no_grad()
def test_transformers_gives_the_same_logits(model, folder):
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens_BT = torch.randint(0, VOCAB, (2, 64), generator=torch.Generator().manual_seed(0))
    ours, there = model(tokens_BT), theirs(tokens_BT).logits
    assert (ours - there).abs().max() < 1e-4
    assert ours.abs().max() > 0.5  # the model says something


@torch.no_grad()
def test_it_comes_back_as_the_same_function_and_the_same_export(model, folder):
    back = from_huggingface(folder)
    tokens_BT = torch.arange(64)[None] % VOCAB
    torch.testing.assert_close(back(tokens_BT), model(tokens_BT), atol=1e-5, rtol=0)
    again, before = huggingface_weights(back), huggingface_weights(model)
    assert again.keys() == before.keys()
    assert all(torch.equal(again[name], before[name]) for name in before)


@pytest.mark.parametrize("count", [24, pytest.param(1000, marks=pytest.mark.long)])
@torch.no_grad()
def test_every_shape_that_the_configuration_takes_loads_elsewhere(
    drawn_shapes, talkative, tmp_path, count
):
    shapes, refused = drawn_shapes(count, count)
    assert refused > count, "it refuses kv heads that don't divide heads, for one"
    chance = torch.Generator().manual_seed(count)
    for shape, vocab_size in shapes:
        model = talkative(shape, vocab_size)
        folder = write(model, tmp_path / "drawn")
        tokens_BT = torch.randint(0, vocab_size, (2, shape.context), generator=chance)
        ours = model(tokens_BT)
        scale = max(1.0, float(ours.abs().max()))
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
        assert (ours - theirs(tokens_BT).logits).abs().max() < 1e-4 * scale, shape
        back = from_huggingface(folder)
        assert (ours - back(tokens_BT)).abs().max() < 1e-4 * scale, shape


def test_a_llama_that_only_we_could_load_is_refused():
    model = Decoder(SMALL.model_copy(update={"qk_norm": False, "width": 50}), VOCAB)
    with pytest.raises(UserError, match=r"model\.width: 50 is no multiple of model\.heads 4"):
        huggingface_weights(model)


def test_a_norm_that_can_not_be_folded_is_refused():
    model = Decoder(SMALL.model_copy(update={"tie_embeddings": True}), VOCAB)
    with pytest.raises(UserError, match=r"model\.tie_embeddings: true and model\.embedding_norm"):
        huggingface_weights(model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "gpt2"}, "a 'gpt2' model; expected one of qwen3, llama"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}, "'yarn'; expected default"),
        ({"num_hidden_layers": 4}, "weights don't fit"),
        ({"num_hidden_layers": 2}, "has no place for"),
        ({"vocab_size": 78}, "weights don't fit"),
        ({"hidden_size": "64"}, "hidden_size: input should be a valid integer"),
        ({"num_key_value_heads": 3}, r"model\.kv_heads: 3 does not divide"),
        ({"head_dim": 15}, r"model\.head_dim: 15 is odd"),
        ({"num_attention_heads": 0}, "num_attention_heads: input should be greater than 0"),
        ({"rope_parameters": {"rope_theta": "a"}}, "rope_theta: found 'a'; expected a number"),
    ],
    ids=[
        "another kind",
        "scaled positions",
        "a layer missing",
        "a layer too many",
        "another vocabulary",
        "a text for a number",
        "keys that don't divide",
        "an odd head",
        "no heads",
        "no rotary base",
    ],
)
@pytest.mark.parametrize("model", ["Qwen3"], indirect=True)
def test_what_does_not_fit_is_refused(folder, change, said):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=said):
        from_huggingface(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("model", ["Qwen3"], indirect=True)
def test_damaged_and_missing_files_are_refused(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(
        UserError, match=f"{name}: (not JSON|can't be read).*export the model again"
    ):
        from_huggingface(folder)
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        from_huggingface(folder)
