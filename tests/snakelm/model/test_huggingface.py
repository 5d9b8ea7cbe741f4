"""The exported model: the same function in transformers, and the same weights when it comes
back.
"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

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


MISFITS = {
    "another kind": ({"model_type": "gpt2"}, "a 'gpt2' model; expected one of qwen3, llama"),
    "no kind": ({"model_type": None}, "a None model"),
    "kind of another type": ({"model_type": ["qwen3"]}, "model; expected one of"),
    "scaled positions": (
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}},
        "'yarn'; expected default",
    ),
    "scaled positions by their older name": (
        {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}},
        "'linear'; expected default",
    ),
    "positions scaled beside those that aren't": (
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        "'linear'; expected default",
    ),
    "positions by layer": (
        {"rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 1.0}}},
        "positions that differ by layer; expected default",
    ),
    "two bases": (
        {"rope_theta": 10_000.0},
        r"rope_theta: found 10000\.0 and 5000\.0, of which each version",
    ),
    "positions in part": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    "a layer missing": ({"num_hidden_layers": 4}, r"input_layernorm\.weight: found none"),
    "a layer too many": ({"num_hidden_layers": 2}, "has no place for"),
    "ten million layers": ({"num_hidden_layers": 10_000_000}, "layers: found 10000000, allowed"),
    "another vocabulary": ({"vocab_size": 78}, r"found size \(77, 48\), expected size \(78, 48\)"),
    "a huge vocabulary": ({"vocab_size": 2**31 - 1}, "weights don't fit"),
    "more than a tensor holds": ({"vocab_size": 2**70}, "vocab_size: input should"),
    "a huge width": ({"hidden_size": 65_536, "intermediate_size": 10**6}, "weights don't fit"),
    "a long context": (
        {"max_position_embeddings": 2**20, "head_dim": 512},
        "context: found 1,048,576, allowed",
    ),
    "a text for a number": ({"hidden_size": "64"}, "hidden_size: input should be a valid integer"),
    "true for a number": ({"num_hidden_layers": True}, "num_hidden_layers: input should be"),
    "an epsilon that is a text": ({"rms_norm_eps": "1e-6"}, "rms_norm_eps: input should be"),
    "a negative epsilon": ({"rms_norm_eps": -1e-6}, "rms_norm_eps: input should be"),
    "an epsilon of 0": ({"rms_norm_eps": 0}, "rms_norm_eps: input should be"),
    "an epsilon that is NaN": ({"rms_norm_eps": float("nan")}, "NaN is not a JSON number"),
    "an endless epsilon": ({"rms_norm_eps": float("inf")}, "Infinity is not a JSON number"),
    "a large epsilon": ({"rms_norm_eps": 1.0}, "norm_eps: found 1.0, allowed"),
    "no heads": (
        {"num_attention_heads": 0},
        "num_attention_heads: input should be greater than 0",
    ),
    "keys that don't divide": ({"num_key_value_heads": 3}, r"model\.kv_heads: 3 does not divide"),
    "an odd head": ({"head_dim": 15}, r"model\.head_dim: 15 is odd"),
    "no rotary base": (
        {"rope_parameters": {"rope_theta": "a"}},
        "rope_theta: found 'a'; expected a number",
    ),
    "a rotary base that is true": ({"rope_parameters": {"rope_theta": True}}, "expected a number"),
    "biases": ({"attention_bias": True}, "attention_bias: input should be False"),
    "another activation": ({"hidden_act": "gelu"}, "hidden_act: input should be 'silu'"),
    "a sliding window": ({"use_sliding_window": True}, "use_sliding_window: input should be False"),
    "layers with a window": (
        {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
        r"layer_types\.1: input should be 'full_attention'",
    ),
    "whole numbers for weights": ({"quantization_config": {"bits": 4}}, "quantization_config"),
}


@pytest.mark.parametrize(("change", "said"), MISFITS.values(), ids=MISFITS)
@pytest.mark.parametrize("model", ["Qwen3"], indirect=True)
def test_what_does_not_fit_is_refused_before_the_weights_are_read(
    folder, change, said, monkeypatch
):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    monkeypatch.setattr("safetensors.torch.load_file", None)
    with pytest.raises(UserError, match=said):
        from_huggingface(folder)


@pytest.mark.parametrize("model", ["Qwen3"], indirect=True)
@torch.no_grad()
def test_what_older_files_leave_out_is_what_transformers_takes_it_for(folder, model):
    config = json.loads((folder / "config.json").read_text())
    for name in ("tie_word_embeddings", "hidden_act", "rope_parameters", "attention_bias"):
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    tokens_BT = torch.arange(64)[None]
    assert (from_huggingface(folder)(tokens_BT) - model(tokens_BT)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda norm: norm.fill_(float("nan")), r"model\.norm\.weight has NaN or infinity"),
        (lambda norm: norm.to(torch.int32), r"model\.norm\.weight is I32; expected one of F32"),
        (lambda norm: norm[:-1], r"model\.norm\.weight: found size \(47,\), expected size \(48,\)"),
    ],
    ids=["NaN", "whole numbers", "size"],
)
@pytest.mark.parametrize("model", ["Qwen3"], indirect=True)
def test_weights_that_are_none_are_refused(folder, change, said):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = change(weights["model.norm.weight"])
    save_file(weights, folder / "model.safetensors")
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
