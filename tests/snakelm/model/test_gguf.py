"""model.gguf: what is in it, and, where llama-cpp-python is installed, that llama.cpp says what we
say.

pip install llama-cpp-python        # compiles llama.cpp: minutes
python -m pytest tests/snakelm/model/test_gguf.py
"""

import itertools
import random
import re

import numpy as np
import pytest
import torch

from snakelm.config import Model, Publish
from snakelm.data.conversations.chat_template import prompt
from snakelm.data.conversations.jinja_template import PLAIN_JINJA
from snakelm.errors import UserError
from snakelm.model import Decoder, generate, load_model, save_model
from snakelm.model.gguf import gguf_name, write_gguf
from snakelm.model.huggingface import huggingface_weights
from snakelm.model.ollama import modelfile
from snakelm.tokenizer import CHAT, EOT, Tokenizer, train_bpe

gguf = pytest.importorskip("gguf", reason="gguf not installed: requirements.txt has it")

SMALL = Model(
    layers=2, width=64, heads=4, kv_heads=2, head_dim=16, hidden=96, context=256, rope_base=5000.0
)
SHAPES = {
    "Qwen3": SMALL,
    "Qwen3, tied": SMALL.model_copy(update={"embedding_norm": False, "tie_embeddings": True}),
    "Qwen3, head wider than width / heads": SMALL.model_copy(update={"head_dim": 32}),
    "Llama": SMALL.model_copy(update={"qk_norm": False}),
    "Llama, as many keys as queries": SMALL.model_copy(
        update={"qk_norm": False, "kv_heads": 4, "embedding_norm": False}
    ),
}
CORPUS = [
    f"def f{i}(x):\n    return x + {i}\n\n"
    f"The café's {i % 13} otters, naïve or not, don't swim\t— 中文 {i * i}?!  \r\n"
    for i in range(400)
]
WORDS = [
    "it'ſ",
    "İ'S",
    "e\u0301",
    "\u0301a",
    "ǅ",
    "ʰ",
    "٣٤٥٦",
    "x²",
    "½",
    "\u00a0a",
    "\u2003 b",
    "ａ１",
    "नमस्ते",
    "สวัสดี",
    "한국어",
]
WORDS += [
    "‘quote’",
    "\u200bz",
    "A\u0301BC",
    "aB'C",
    "\ufeffx",
    "\u0085 a",
    "\x1c a",
    "\U0001f1e9\U0001f1ea",
]
PROMPTS = ["def f", "The café", "return x +", "otters swim\n\n", "中文 and 12345"]


def tokenizer_of(pattern):
    return train_bpe(CORPUS, 400, pattern, special_tokens=(EOT, *CHAT))


def make(folder, shape, pattern="cl100k", chat=False):
    """A model that says something, its tokenizer and its GGUF."""
    tokenizer = tokenizer_of(pattern)
    generator = torch.Generator().manual_seed(3)
    model = Decoder(shape, tokenizer.vocab_size).initialize(generator)
    # Gains away from 1, residual outputs away from 0, and a head that has preferences.
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
        model.head_weight.mul_(4)
    save_model(
        folder / "m.pt",
        model,
        tokenizer_sha256=tokenizer.sha256,
        step=1,
        fingerprint="0" * 16,
        chat=chat,
    )
    write_gguf(folder / "m.pt", tokenizer, folder / "m.gguf", Publish(name="a small model"))
    return load_model(folder / "m.pt")[0], tokenizer


@pytest.fixture(params=SHAPES)
def made(request, tmp_path):
    return (*make(tmp_path, SHAPES[request.param]), tmp_path / "m.gguf")


def test_every_weight_is_there_under_its_name(made):
    model, _, path = made
    reader = gguf.GGUFReader(path)
    there = {tensor.name: tensor for tensor in reader.tensors}
    expected = {gguf_name(name): weight for name, weight in huggingface_weights(model).items()}
    assert there.keys() == expected.keys()
    for name, weight in expected.items():
        assert tuple(reversed(there[name].shape.tolist())) == tuple(weight.shape), name
        same = there[name].data.reshape(weight.shape)
        if model.shape.qk_norm or name.split(".")[-2] not in ("attn_q", "attn_k"):
            assert np.array_equal(same, weight.numpy()), name
        else:
            assert np.array_equal(np.sort(same, axis=0), np.sort(weight.numpy(), axis=0)), name
            assert not np.array_equal(same, weight.numpy()), name


@pytest.mark.parametrize(("kind", "bits"), [("f16", 16), ("q8_0", 8.5)])
def test_smaller_weights_are_the_same_but_for_their_rounding(tmp_path, kind, bits):
    """float16 has 11 bits; a block of Q8_0 has steps of a 127th of its largest weight, the step too
    in float16."""
    model, tokenizer = make(tmp_path, SMALL)
    write_gguf(tmp_path / "m.pt", tokenizer, tmp_path / "s.gguf", Publish(gguf=kind, licence="mit"))
    reader = gguf.GGUFReader(tmp_path / "s.gguf")
    assert reader.fields["general.license"].contents() == "mit"
    assert reader.fields["general.file_type"].contents() == {"f16": 1, "q8_0": 7}[kind]

    there = {tensor.name: tensor for tensor in reader.tensors}
    for name, weight in huggingface_weights(model).items():
        stored, exact = there[gguf_name(name)], weight.numpy()
        found = gguf.dequantize(stored.data, stored.tensor_type).reshape(exact.shape)
        if exact.ndim == 1:
            assert np.array_equal(found, exact), name
            continue
        assert stored.n_bytes * 8 == bits * exact.size
        largest = np.abs(exact).reshape(*exact.shape[:-1], -1, 32).max(-1, keepdims=True)
        step = np.broadcast_to(largest / 127, (*largest.shape[:-1], 32)).reshape(exact.shape)
        bound = np.abs(exact) * 2**-11 if kind == "f16" else step * 0.57
        assert (np.abs(found - exact) <= bound + 1e-7).all(), name


def test_rows_that_have_no_whole_blocks_stay_float32(tmp_path):
    _, tokenizer = make(tmp_path, SMALL.model_copy(update={"hidden": 72}))
    write_gguf(tmp_path / "m.pt", tokenizer, tmp_path / "s.gguf", Publish(gguf="q8_0"))
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "s.gguf").tensors}
    assert kinds["blk.0.ffn_down.weight"] == "F32"  # 72 columns
    assert kinds["blk.0.ffn_up.weight"] == "Q8_0"  # 64


@pytest.mark.parametrize(("kind", "weight"), [("f16", 7e4), ("q8_0", 1e7), ("f16", float("nan"))])
def test_a_weight_that_would_become_infinite_is_refused(tmp_path, kind, weight):
    model, tokenizer = make(tmp_path, SMALL)
    with torch.no_grad():
        model.head_weight[3, 5] = weight
    sha256 = tokenizer.sha256
    save_model(tmp_path / "m.pt", model, tokenizer_sha256=sha256, step=1, fingerprint="0" * 16)
    with pytest.raises(UserError, match=rf"{kind} holds weights up to .* set publish.gguf: f32"):
        write_gguf(tmp_path / "m.pt", tokenizer, tmp_path / "s.gguf", Publish(gguf=kind))
    assert not (tmp_path / "s.gguf").exists()


def go_template(text, messages):
    """What Ollama's template makes of a chat: of Go's language it has one range over messages."""
    before, inside, after = re.fullmatch(
        r"(.*)\{\{ range \.Messages \}\}(.*)\{\{ end \}\}(.*)", text
    ).groups()
    said = [
        inside.replace("{{ .Role }}", m["role"]).replace("{{ .Content }}", m["content"])
        for m in messages
    ]
    return before + "".join(said) + after


def test_ollama_writes_a_chat_as_we_do(tmp_path):
    from jinja2 import Environment

    made = modelfile("m.gguf", chat=True, context=256)
    assert made.startswith("FROM ./m.gguf\n")
    assert 'PARAMETER stop "<|end|>"' in made
    assert "PARAMETER num_ctx 256" in made
    assert "PARAMETER temperature 0.3\n" in made
    assert "PARAMETER temperature 0.8\n" in modelfile("m.gguf", chat=False, context=256)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " What is 中文?\n"},
        {"role": "assistant", "content": "Chinese."},
    ]
    template = re.search(r'TEMPLATE """(.*)"""', made)[1]
    ours = (
        Environment().from_string(PLAIN_JINJA).render(messages=messages, add_generation_prompt=True)
    )
    assert go_template(template, messages) == ours


def test_a_base_model_continues_what_it_is_given():
    made = modelfile("m.gguf", chat=False, context=64)
    assert 'TEMPLATE """{{ .Prompt }}"""' in made
    assert 'PARAMETER stop "<|endoftext|>"' in made


def test_what_the_file_says_of_any_shape_fits_its_weights(drawn_shapes, tmp_path):
    for shape, _ in drawn_shapes(5, 12)[0]:
        made, _ = make(tmp_path, shape)
        reader = gguf.GGUFReader(tmp_path / "m.gguf")
        said = {name.partition(".")[2]: field.contents() for name, field in reader.fields.items()}
        sizes = {tensor.name: tuple(tensor.shape.tolist()) for tensor in reader.tensors}
        width, head = said["embedding_length"], said["attention.key_length"]
        queries, keys = said["attention.head_count"], said["attention.head_count_kv"]
        assert said["attention.value_length"] == said["rope.dimension_count"] == head
        assert sizes["token_embd.weight"] == (width, said["vocab_size"])
        assert sizes["blk.0.attn_q.weight"] == (width, queries * head)
        assert sizes["blk.0.attn_k.weight"] == sizes["blk.0.attn_v.weight"] == (width, keys * head)
        assert sizes["blk.0.ffn_gate.weight"] == (width, said["feed_forward_length"])
        assert sum(".attn_q." in name for name in sizes) == said["block_count"]
        assert ("output.weight" in sizes) is not shape.tie_embeddings
        assert said["context_length"] == shape.context
        assert said["rope.freq_base"] == pytest.approx(shape.rope_base, rel=1e-6)
        assert said["attention.layer_norm_rms_epsilon"] == pytest.approx(shape.norm_eps, rel=1e-6)
        assert said["vocab_size"] == made.vocab_size


def test_the_same_model_gives_the_same_bytes(made, tmp_path):
    _, tokenizer, path = made
    write_gguf(tmp_path / "m.pt", tokenizer, tmp_path / "again.gguf", Publish(name="a small model"))
    assert (tmp_path / "again.gguf").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("chat", [False, True], ids=["base", "tuned"])
def test_the_file_tells_of_the_tokenizer_and_how_a_chat_is_written(tmp_path, chat):
    _, tokenizer = make(tmp_path, SMALL, "o200k", chat)
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    assert fields["tokenizer.ggml.pre"].contents() == "gpt-4o"
    assert fields["tokenizer.ggml.bos_token_id"].contents() == tokenizer.eot
    assert fields["tokenizer.ggml.add_bos_token"].contents() is not chat
    end = tokenizer.special_tokens["<|end|>"] if chat else tokenizer.eot
    assert fields["tokenizer.ggml.eos_token_id"].contents() == end
    assert ("tokenizer.chat_template" in fields) is chat
    if chat:
        assert fields["tokenizer.chat_template"].contents() == PLAIN_JINJA
    assert len(fields["tokenizer.ggml.tokens"].contents()) == tokenizer.vocab_size


def test_words_that_llama_cpp_would_cut_are_refused(tmp_path):
    ranks = {bytes([i]): i for i in range(256)} | {b"xyz": 256}
    unreached, unknown = "1 tokens that merging never reaches", "llama.cpp has no splitter for"
    for pattern, refused in (
        *(("cl100k", ""), ("llama3", ""), ("gpt2", unreached), ("o200k", unreached)),
        *(("qwen2", unreached), ("nanochat", unknown), (r"\S+|\s+", unknown)),
    ):
        tokenizer = Tokenizer(ranks, pattern, {EOT: 257})
        model = Decoder(SMALL, tokenizer.vocab_size)
        save_model(
            tmp_path / "m.pt",
            model,
            tokenizer_sha256=tokenizer.sha256,
            step=1,
            fingerprint="0" * 16,
        )
        if refused:
            with pytest.raises(UserError, match=refused):
                write_gguf(tmp_path / "m.pt", tokenizer, tmp_path / "m.gguf", Publish())
        else:
            write_gguf(tmp_path / "m.pt", tokenizer, tmp_path / "m.gguf", Publish())
        assert (tmp_path / "m.gguf").exists() is not bool(refused)
        (tmp_path / "m.gguf").unlink(missing_ok=True)


def test_another_tokenizer_is_refused(tmp_path):
    make(tmp_path, SMALL)
    with pytest.raises(UserError, match="another tokenizer"):
        write_gguf(tmp_path / "m.pt", tokenizer_of("gpt2"), tmp_path / "other.gguf", Publish())
    assert not (tmp_path / "other.gguf").exists()


@pytest.fixture
def loaded():
    """`loaded(path)`: llama.cpp with the file, keys and values in float32 as ours (its default is
    float16).
    """
    llama_cpp = pytest.importorskip(
        "llama_cpp", reason="llama-cpp-python not installed: it compiles for minutes (see above)"
    )
    opened = []

    def load(path, **more):
        float32 = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}
        opened.append(
            llama_cpp.Llama(str(path), n_ctx=256, n_threads=1, verbose=False, **float32, **more)
        )
        return opened[-1]

    yield load
    for one in opened:
        one.close()


@torch.no_grad()
def test_gguf_gives_the_same_logits_and_the_same_200_tokens(made, loaded):
    model, tokenizer, path = made
    theirs = loaded(path, logits_all=True)
    for text in PROMPTS:
        ids = [tokenizer.eot, *tokenizer.encode_ordinary(text)]
        theirs.reset()
        theirs.eval(ids)
        there = torch.tensor(theirs.scores[: len(ids)])
        assert (model(torch.tensor([ids]))[0] - there).abs().max() < 2e-4
        said = []
        for token in theirs.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0):
            said.append(token)
            if len(said) == 200:
                break
        assert said == generate(model, ids, 200, temperature=0)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_gguf_reads_the_same_tokens(pattern, tmp_path, loaded):
    _, tokenizer = make(tmp_path, SMALL, pattern)
    theirs = loaded(tmp_path / "m.gguf", vocab_only=True)
    rng = random.Random(0)
    pieces = [
        "The",
        " café",
        "'s",
        "DON'T",
        "é",
        "中文",
        "🙂",
        " ",
        "  ",
        "\n",
        "\t",
        "\r\n",
        "x_1",
        "12345",
        "?!",
        "—",
    ]
    texts = ["".join(rng.choices(pieces, k=rng.randint(1, 14))) + "." for _ in range(500)]
    for text in [*CORPUS[:20], *texts, *(word + "." for word in WORDS)]:
        assert theirs.tokenize(
            text.encode(), add_bos=False, special=False
        ) == tokenizer.encode_ordinary(text), text


def test_the_one_difference_in_tokens_is_white_space_at_the_end(tmp_path, loaded):
    texts = [*CORPUS, *(["x\n  "] * 400)]
    tokenizer = train_bpe(texts, 400, "cl100k", special_tokens=(EOT, *CHAT))
    model = Decoder(SMALL, tokenizer.vocab_size)
    save_model(
        tmp_path / "m.pt", model, tokenizer_sha256=tokenizer.sha256, step=1, fingerprint="0" * 16
    )
    write_gguf(tmp_path / "m.pt", tokenizer, tmp_path / "m.gguf", Publish())
    theirs = loaded(tmp_path / "m.gguf", vocab_only=True)
    differ = []
    for end in (
        "".join(some) for length in range(5) for some in itertools.product(" \n\t", repeat=length)
    ):
        ids = theirs.tokenize(f"x{end}".encode(), add_bos=False, special=False)
        assert tokenizer.decode(ids) == f"x{end}"
        differ += [end] if ids != tokenizer.encode_ordinary(f"x{end}") else []
    assert "\n  " in differ
    assert all("\n" in end and not end.endswith("\n") for end in differ)


def test_gguf_writes_a_chat_as_we_do(tmp_path, loaded):
    _, tokenizer = make(tmp_path, SMALL, chat=True)
    theirs = loaded(tmp_path / "m.gguf", vocab_only=True)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " What is 中文?\n"},
    ]
    from jinja2 import Environment

    text = Environment().from_string(theirs.metadata["tokenizer.chat_template"])
    written = text.render(messages=messages, add_generation_prompt=True)
    assert theirs.tokenize(written.encode(), add_bos=False, special=True) == prompt(
        messages, tokenizer
    )
    assert theirs.token_eos() == tokenizer.special_tokens["<|end|>"]
