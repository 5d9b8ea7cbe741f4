"""model.gguf: the model as llama.cpp and what is built on it load it (Ollama, LM Studio,
llama-cpp-python).

Weights are float32, so that its answers are ours, or float16, or blocks of 32 in 8 bits with a
common scale (Q8_0, rounded as llama.cpp's own library does). Vectors stay float32, as in llama.cpp,
and so does, for Q8_0, a matrix whose rows are no multiple of 32. They are the exported ones
(huggingface.py) under llama.cpp's names, with one change: a Llama's rotary positions there pair
neighbouring rows where ours pair halves, so the rows of its queries and keys change places; those
of a Qwen3 don't.

The tokenizer's pattern has a name in llama.cpp, or can't go there. Two differences remain, both in
that program: it splits white space at the end of a text that has a line break inside into two words
where cl100k has one, and, as transformers does, it takes the name of a special token in a text for
the token.
"""

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch

from ..config import Model, Publish
from ..data.conversations.chat_template import chat_tokens
from ..data.conversations.jinja_template import PLAIN_JINJA
from ..errors import UserError
from ..files import atomic_path
from ..tokenizer import Tokenizer
from ..tokenizer.huggingface import byte_characters
from ..tokenizer.patterns import PATTERNS, llamacpp_name
from ..tokenizer.special import END
from .file import load_model
from .huggingface import LAYER, OUTSIDE, huggingface_weights

if TYPE_CHECKING:
    from gguf import GGUFWriter

__all__ = ["GgufSummary", "write_gguf"]

# Where llama.cpp takes a word that is a token as that token, without merging up to it.
IGNORE_MERGES = {"llama-bpe"}
BLOCK = 32  # weights of Q8_0 that share a scale
LARGEST = {"f16": 65_504.0, "q8_0": 127 * 65_504.0}  # weights; a scale of Q8_0 is a float16
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
assert len(NAMES) == len(LAYER) + len(OUTSIDE), "every weight has a name there"


class GgufSummary(TypedDict):
    """What a manifest says of the file."""

    parameters: int
    chat: bool
    context: int
    tensors: int
    weights: str


def write_gguf(
    model_file: Path, tokenizer: Tokenizer, output: Path, publish: Publish
) -> GgufSummary:
    """Writes the model with its tokenizer and what ``publish`` says of it; UserError for a
    tokenizer that llama.cpp would use differently, and for weights too large for ``publish.gguf``.
    """
    model, record = load_model(model_file)
    if record["tokenizer"]["sha256"] != tokenizer.sha256:
        raise UserError(f"{model_file}: trained with another tokenizer than this one; name its own")
    check_tokenizer(tokenizer)
    from gguf import GGUFWriter

    chat, shape = bool(record.get("chat")), model.shape
    weights = {gguf_name(n): w for n, w in huggingface_weights(model).items()}

    with atomic_path(output) as temporary:
        writer = GGUFWriter(temporary, "qwen3" if shape.qk_norm else "llama")
        _add_publication(writer, publish)
        _add_shape(writer, shape, model.vocab_size)
        _add_tokenizer(writer, tokenizer, model.vocab_size, chat)
        for tensor, weight in weights.items():
            if not shape.qk_norm:
                weight = _paired_rows(weight, tensor, shape)
            _add_weight(writer, tensor, np.ascontiguousarray(weight.numpy()), publish.gguf)

        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return {
        "parameters": sum(w.numel() for w in weights.values()),
        "chat": chat,
        "context": shape.context,
        "tensors": len(weights),
        "weights": publish.gguf,
    }


def gguf_name(name: str) -> str:
    """`model.layers.3.self_attn.q_proj.weight` → `blk.3.attn_q.weight`."""
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{NAMES[stem]}.weight"
    _, _, number, inside = stem.split(".", 3)
    return f"blk.{number}.{NAMES[inside]}.weight"


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """UserError for a tokenizer whose words llama.cpp would split into other tokens."""
    kind, merges = llamacpp_name(tokenizer.pattern), tokenizer.merges()
    if kind is None:
        known = ", ".join(name for name in PATTERNS if llamacpp_name(name))
        raise UserError(
            f"tokenizer.pattern: llama.cpp has no splitter for {tokenizer.pattern!r}; it knows "
            f"{known}; no GGUF of it (export and chat.py take it)"
        )

    unreached = sum(
        len(token) > 1 and merges[rank] is None for token, rank in tokenizer.mergeable_ranks.items()
    )
    if unreached and kind not in IGNORE_MERGES:
        raise UserError(
            f"tokenizer {tokenizer.sha256[:12]}…: {unreached:,} tokens that merging never reaches, "
            "which llama.cpp takes as complete words only with cl100k and llama3; this one has "
            f"{tokenizer.pattern}; no GGUF of it"
        )


def _add_publication(writer: "GGUFWriter", publish: Publish) -> None:
    from gguf import LlamaFileType

    kinds = {
        "f32": LlamaFileType.ALL_F32,
        "f16": LlamaFileType.MOSTLY_F16,
        "q8_0": LlamaFileType.MOSTLY_Q8_0,
    }
    writer.add_name(publish.name)
    writer.add_file_type(kinds[publish.gguf])
    if publish.gguf == "q8_0":
        writer.add_quantization_version(2)  # of llama.cpp's block formats since 2023
    if publish.licence:
        writer.add_license(publish.licence)
    if publish.languages:
        writer.add_languages(publish.languages)


def _add_weight(writer: "GGUFWriter", name: str, weight: np.ndarray, kind: str) -> None:
    """One tensor, float32 [rows, columns] or [columns]; as ``kind`` where it can be that."""
    from gguf import GGMLQuantizationType, quants

    if weight.ndim == 1 or (kind == "q8_0" and weight.shape[-1] % BLOCK):
        kind = "f32"
    largest = float(np.abs(weight).max())
    if kind in LARGEST and not largest <= LARGEST[kind]:
        raise UserError(
            f"publish.gguf: {kind} holds weights up to {LARGEST[kind]:,.0f}, and {name} has one of "
            f"{largest:,.0f}; set publish.gguf: f32"
        )
    if kind == "q8_0":
        blocks = quants.quantize(weight, GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType.Q8_0)
    else:
        writer.add_tensor(name, weight.astype(np.float16 if kind == "f16" else np.float32))


def _add_shape(writer: "GGUFWriter", shape: Model, vocab_size: int) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_vocab_size(vocab_size)


def _add_tokenizer(writer: "GGUFWriter", tokenizer: Tokenizer, vocab_size: int, chat: bool) -> None:
    from gguf import TokenType

    # Tokens are bytes; in the file each byte is the printable character that GPT-2 gave it.
    table = str.maketrans({b: character for b, character in enumerate(byte_characters())})
    names = {
        rank: token.decode("latin-1").translate(table)
        for token, rank in tokenizer.mergeable_ranks.items()
    }
    special = {number: name for name, number in tokenizer.special_tokens.items()}
    kinds = dict.fromkeys(names, TokenType.NORMAL) | dict.fromkeys(special, TokenType.CONTROL)

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(str(llamacpp_name(tokenizer.pattern)))
    writer.add_token_list([(names | special).get(i, f"[unused {i}]") for i in range(vocab_size)])
    writer.add_token_types([kinds.get(i, TokenType.UNUSED) for i in range(vocab_size)])
    writer.add_token_merges(
        [f"{names[pair[0]]} {names[pair[1]]}" for pair in tokenizer.merges() if pair]
    )

    writer.add_bos_token_id(tokenizer.eot)
    writer.add_eos_token_id(chat_tokens(tokenizer)[END] if chat else tokenizer.eot)
    writer.add_pad_token_id(tokenizer.eot)
    writer.add_add_bos_token(not chat)  # the chat template begins with it already
    writer.add_add_space_prefix(False)

    if chat:
        writer.add_eot_token_id(chat_tokens(tokenizer)[END])
        writer.add_chat_template(PLAIN_JINJA)


def _paired_rows(weight: torch.Tensor, name: str, shape: Model) -> torch.Tensor:
    """The rows of a query's or key's matrix in the order of neighbouring pairs: within a head,
    row i beside row i + half. Other matrices as they are.
    """
    heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(name.split(".")[-2])
    if heads is None:
        return weight
    return weight.view(heads, 2, shape.head_dim // 2, -1).transpose(1, 2).reshape(weight.shape)
