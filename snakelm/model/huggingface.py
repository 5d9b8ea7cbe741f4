"""The model as transformers, lm-evaluation-harness and llama.cpp know it: Qwen3, or Llama with
qk_norm off.

Weights change their names and nothing else, with one exception: an RMS-norm after the embedding is
a function of the token alone, so it is folded into the table. With tied embeddings that is
impossible, for the head uses the same table; the configuration refuses such a shape.

The other way, a folder of that form becomes a Decoder without the norm after the embedding: other
weights in the table, the same function, and the same folder when it is exported again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pytorch_ext import rms_norm

from ..config import Model, check_exportable
from ..config.huggingface import KINDS, read_config_json, shape_of
from ..errors import UserError
from ..model_folders import weight_files, weight_heads
from .decoder import Decoder
from .file import first_misfit, weight_sizes

__all__ = ["Ends", "from_huggingface", "huggingface_config", "huggingface_weights"]

# Our names → theirs; inside a layer, and outside.
LAYER = {
    "attention_norm": "input_layernorm.weight",
    "attention.q": "self_attn.q_proj.weight",
    "attention.k": "self_attn.k_proj.weight",
    "attention.v": "self_attn.v_proj.weight",
    "attention.o": "self_attn.o_proj.weight",
    "attention.q_norm": "self_attn.q_norm.weight",
    "attention.k_norm": "self_attn.k_norm.weight",
    "mlp_norm": "post_attention_layernorm.weight",
    "mlp.gate": "mlp.gate_proj.weight",
    "mlp.up": "mlp.up_proj.weight",
    "mlp.down": "mlp.down_proj.weight",
}
OUTSIDE = {
    "embedding": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "head": "lm_head.weight",
}
DTYPES = ("F32", "BF16", "F16", "F64")  # of weights that are taken
DERIVED = ".rotary_emb.inv_freq"  # that older Llamas have beside them; follows from config.json


@dataclass(frozen=True)
class Ends:
    """The ids at the ends of a text: ``begin`` opens every document; generation stops at any of
    ``stop``.
    """

    begin: int
    stop: list[int]


def huggingface_name(name: str) -> str:
    """`layers.3.attention.q` → `model.layers.3.self_attn.q_proj.weight`."""
    if not name.startswith("layers."):
        return OUTSIDE[name]
    _, number, inside = name.split(".", 2)
    return f"model.layers.{number}.{LAYER[inside]}"


@torch.no_grad()
def huggingface_weights(model: Decoder) -> dict[str, torch.Tensor]:
    """Name → float32 tensor on the CPU, contiguous, none sharing memory with the model's."""
    shape = model.shape
    check_exportable(shape)
    weights = {
        huggingface_name(n): p.detach().float().cpu().clone() for n, p in model.named_parameters()
    }
    if shape.embedding_norm:  # norm(table[token]) == norm(table)[token]
        table = OUTSIDE["embedding"]
        weights[table] = rms_norm(weights[table], None, shape.norm_eps)
    return weights


def huggingface_config(shape: Model, vocab_size: int, ends: Ends) -> dict[str, Any]:
    """config.json, as plain JSON types. The rotary base stands under its old and its new name."""
    kind, architecture = KINDS[shape.qk_norm]
    return {
        "architectures": [architecture],
        "model_type": kind,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": ends.begin,
        "dtype": "float32",
        "eos_token_id": ends.stop,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "max_position_embeddings": shape.context,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.norm_eps,
        "rope_parameters": {"rope_theta": shape.rope_base, "rope_type": "default"},
        "rope_theta": shape.rope_base,
        "tie_word_embeddings": shape.tie_embeddings,
        "use_cache": True,
        "vocab_size": vocab_size,
    }


@torch.no_grad()
def from_huggingface(folder: str | Path) -> Decoder:
    """The model of a folder with config.json and model.safetensors, or several of them with an
    index; UserError for a folder that isn't one, or whose files don't fit each other.
    """
    folder = Path(folder)
    config = read_config_json(folder)
    shape = shape_of(folder, config)
    _check_weights(folder, shape, config.vocab_size)

    model = Decoder(shape, config.vocab_size)
    ours = {huggingface_name(name): weight for name, weight in model.named_parameters()}
    second: torch.Tensor | None = None  # a head beside a tied table
    for file in weight_files(folder):  # one after the other: two copies are never whole
        for name, weight in _read(file).items():
            if name in ours:
                ours[name].copy_(weight)
                if not ours[name].isfinite().all():
                    raise UserError(f"{folder}: {name} has NaN or infinity in it")
            elif name == OUTSIDE["head"]:
                second = weight
    if second is not None and not torch.equal(second.float(), model.embedding):
        raise UserError(
            f"{folder}: config.json ties embedding and head, and the weights have two different "
            "ones; set tie_word_embeddings to false there, if that is what the model was"
        )
    return model.eval()


def _check_weights(folder: Path, shape: Model, vocab_size: int) -> None:
    """UserError unless the weights are those of ``shape``, by what the files' heads say of them:
    nothing is allocated for a folder that doesn't fit.
    """
    heads = {n: head for n, head in weight_heads(folder).items() if not n.endswith(DERIVED)}
    expected = {huggingface_name(n): size for n, size in weight_sizes(shape, vocab_size).items()}
    found = {name: head.size for name, head in heads.items()}
    if shape.tie_embeddings:  # some write the table twice
        found.pop(OUTSIDE["head"], None)

    if foreign := sorted(found.keys() - expected.keys()):
        raise UserError(
            f"{folder}: weights that config.json has no place for: {', '.join(foreign[:3])}"
        )
    if misfit := first_misfit(found, expected):
        raise UserError(f"{folder}: weights don't fit config.json: {misfit}")
    for name, head in heads.items():
        if head.dtype not in DTYPES:
            raise UserError(
                f"{folder}: {name} is {head.dtype}; expected one of {', '.join(DTYPES)}"
            )


def _read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file; UserError when it can't be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: can't be read ({reason}); export the model again") from None
