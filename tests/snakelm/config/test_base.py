"""train.base settles the shape and the tokenizer when the configuration is read; what contradicts
it, or is no model that can be gone on from, is refused there.
"""

import json
import struct

import pytest

from snakelm.config import from_mapping
from snakelm.errors import UserError

CONFIG = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "vocab_size": 300, "rope_theta": 5e5, "tie_word_embeddings": True,
}  # fmt: skip
WORDS = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 290}, "merges": []},
    "pre_tokenizer": {"type": "ByteLevel"},
    "added_tokens": [{"id": 299, "content": "<|endoftext|>"}],
}


def safetensors(tensors):
    """The bytes of a file with zeros: name → shape."""
    head, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors.items():
        size = 4 * shape[0] * shape[1]
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "base"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    (made / "tokenizer.json").write_text(json.dumps(WORDS))
    (made / "model.safetensors").write_bytes(safetensors({"model.embed_tokens.weight": [300, 32]}))
    return made


def read(folder, **keys):
    train = {"base": str(folder), **keys.pop("train", {})}
    return from_mapping({"train": train, **keys})


def test_the_shape_and_the_tokenizer_are_the_base_s_whatever_the_preset(folder):
    plain = read(folder, preset="gpt2-124m")
    assert (plain.model.layers, plain.model.width, plain.model.context) == (2, 32, 512)
    assert (plain.model.qk_norm, plain.model.embedding_norm) == (False, False)
    assert (plain.tokenizer.kind, plain.tokenizer.vocab_size) == ("base", 300)
    assert plain.tokenizer.train_mb == 512.0, "the preset's, which nothing of the base contradicts"

    same = {"layers": 2, "norm_eps": "1e-5", "context": 256}
    given = read(folder, model=same, tokenizer={"vocab_size": 340})
    assert (given.model.context, given.tokenizer.vocab_size) == (256, 340)
    assert read(folder, tokenizer={"vocab_size": 340, "train_mb": 9}).tokenizer.train_mb == 9
    assert given.model.model_copy(update={"context": 512}) == plain.model


CONTRADICTIONS = {
    "width": ({"model": {"width": 64}}, r"model\.width: 64 contradicts .*base, whose width is 32"),
    "tied": ({"model": {"tie_embeddings": False}}, "tie_embeddings: False contradicts"),
    "context": ({"model": {"context": 1024}}, r"model\.context: 1,024 is longer than the 512"),
    "no section": ({"model": 7}, r"model: found 7"),
    "unknown": ({"model": {"widht": 64}}, "did you mean width"),
    "fewer tokens": ({"tokenizer": {"vocab_size": 299}}, "299 is less than the 300 .*can't shrink"),
    "text for no tokens": (
        {"tokenizer": {"train_mb": 9}},
        r"tokenizer\.train_mb: found 9, .*vocab_size above 300",
    ),
    "kind": ({"tokenizer": {"kind": "bpe"}}, r"tokenizer\.kind: 'bpe' contradicts train\.base"),
    "pattern": ({"tokenizer": {"pattern": "gpt2"}}, r"tokenizer\.pattern: 'gpt2' contradicts"),
    "start": ({"train": {"start": "random"}}, r"train\.start: 'random' contradicts"),
    "bigrams": ({"train": {"bigram_steps": 9}}, r"train\.bigram_steps: 9 contradicts"),
    "batch": ({"train": {"batch_tokens": 640}}, "512, which is that of train.base; set a shorter"),
    "own results": ({"results": "."}, "in this run's own results folder"),
}


@pytest.mark.parametrize(("keys", "said"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_what_contradicts_the_base_is_an_error_that_names_both(folder, keys, said):
    with pytest.raises(UserError, match=said):
        read(folder, **{"train": {"batch_tokens": 1024}, **keys})


def changed(name, **keys):
    def change(folder):
        record = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**record, **keys}))

    return change


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_off(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def half_a_head(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50])


def sharded(folder, *names):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {str(i): name for i, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


NO_BASE = {
    "pickle": (pickled, r"pytorch_model\.bin, a pickle, which may run code.*save_pretrained"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "neither model.safetensors nor"),
    "cut off": (cut_off, r"model\.safetensors: can't be read .*cut off.*; fetch"),
    "half a head": (half_a_head, r"model\.safetensors: can't be read .*cut off"),
    "a shard missing": (lambda f: sharded(f, "a.safetensors"), "a.safetensors: missing, with 1 of"),
    "a shard elsewhere": (lambda f: sharded(f, "../a.safetensors"), "no file of its folder"),
    "an index of pickles": (lambda f: sharded(f, "a.bin"), "no weight_map of safetensors files"),
    "another kind": (changed("config.json", model_type="mistral"), "a 'mistral' model; expected"),
    "experts": (changed("config.json", model_type="qwen3_moe"), "a 'qwen3_moe' model; expected"),
    "scaled positions": (changed("config.json", rope_scaling={"rope_type": "llama3"}), "'llama3'"),
    "a window": (changed("config.json", use_sliding_window=True), "use_sliding_window"),
    "biases": (changed("config.json", attention_bias=True), "attention_bias"),
    "activation": (changed("config.json", hidden_act="gelu"), "hidden_act"),
    "word pieces": (changed("tokenizer.json", model={"type": "WordPiece"}), "a 'WordPiece' token"),
    "no bytes": (changed("tokenizer.json", pre_tokenizer=None), "without ByteLevel; expected"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json: missing"),
}


@pytest.mark.parametrize(("change", "said"), NO_BASE.values(), ids=NO_BASE)
def test_what_is_no_base_is_refused_when_the_configuration_is_read(folder, change, said):
    read(folder)
    change(folder)
    with pytest.raises(UserError, match=said):
        read(folder)


def test_a_run_s_own_file_needs_what_is_beside_it(folder):
    with pytest.raises(UserError, match="no such file or folder; name an exported folder"):
        read("nowhere")
    model = folder / "final_model.pt"
    model.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"final_model\.pt\.manifest\.json: missing; name the folder"
    ):
        read(model)

    shape = read(folder).model.model_dump()
    manifest = folder / "final_model.pt.manifest.json"
    manifest.write_text(json.dumps({"config": {"model": shape}}))
    with pytest.raises(UserError, match=r"tokenizer/meta\.json: missing"):
        read(model)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/meta.json").write_text('{"vocab_size": 300}')
    found = read(model)
    assert (found.model.model_dump(), found.tokenizer.vocab_size) == (shape, 300)
    manifest.write_text(json.dumps({"config": {"sft": {}}}))
    with pytest.raises(UserError, match="its manifest has no shape"):
        read(model)


def test_a_tokenizer_of_a_base_needs_one():
    with pytest.raises(UserError, match=r"tokenizer\.kind: base is for a run with train\.base"):
        from_mapping({"tokenizer": {"kind": "base"}})
