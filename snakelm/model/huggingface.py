"""The model as transformers, lm-evaluation-harness and llama.cpp know it: Qwen3, or Llama with
qk_norm off.

Weights change their names and nothing else, with one exception: an RMS-norm after the embedding is
a function of the token alone, so it is worked into the table. With tied embeddings that can't be,
for the head reads the same table; such a shape is refused when the configuration is read.

The other way, a folder of that form becomes a Decoder without the norm after the embedding: other
weights in the table, the same function, and the same folder when it is exported again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pytorch_ext import rms_norm

from ..config import Model, read_section
from ..errors import UserError
from .decoder import Decoder

__all__ = ["Ends", "from_huggingface", "huggingface_config", "huggingface_weights"]

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
KINDS = {True: ("qwen3", "Qwen3ForCausalLM"), False: ("llama", "LlamaForCausalLM")}


@dataclass(frozen=True)
class Ends:
    """Ids that begin and end text: ``begin`` opens every document; generation stops at any of
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
    if shape.embedding_norm and shape.tie_embeddings:
        raise UserError(
            "model.embedding_norm: with model.tie_embeddings it can't be exported; switch one of them off"
        )
    weights = {
        huggingface_name(n): p.detach().float().cpu().clone() for n, p in model.named_parameters()
    }
    if shape.embedding_norm:
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


def from_huggingface(folder: str | Path) -> Decoder:
    """The model of a folder with config.json and model.safetensors; UserError for what isn't one or
    doesn't fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "model.safetensors")
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename}: missing; expected a model's folder with config.json and model.safetensors"
        ) from None
    except (ValueError, SafetensorError) as error:
        raise UserError(
            f"{folder}: can't be read ({' '.join(str(error).split())[:120]}); export it again"
        ) from None
    shape = _shape(folder, told)
    model = Decoder(shape, told["vocab_size"])
    try:
        model.load_state_dict(
            {n: weights.pop(huggingface_name(n)) for n, _ in model.named_parameters()}
        )
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{folder}: weights don't fit config.json: {' '.join(str(error).split())[:200]}"
        ) from None
    if weights:
        raise UserError(
            f"{folder}: weights that config.json doesn't speak of: {', '.join(sorted(weights)[:3])}"
        )
    return model.eval()


def _shape(folder: Path, told: Mapping[str, Any]) -> Model:
    kinds = {kind: qk_norm for qk_norm, (kind, _) in KINDS.items()}
    if told.get("model_type") not in kinds or told.get("attention_bias"):
        raise UserError(
            f"{folder}: a {told.get('model_type')!r} model; expected one of {', '.join(kinds)}, without biases"
        )
    rope = told.get("rope_parameters") or told.get("rope_scaling") or {"rope_type": "default"}
    if rope.get("rope_type", "default") != "default":
        raise UserError(
            f"{folder}: rotary positions of type {rope['rope_type']!r}; expected default"
        )
    try:
        shape = {
            "layers": told["num_hidden_layers"],
            "width": told["hidden_size"],
            "heads": told["num_attention_heads"],
            "kv_heads": told["num_key_value_heads"],
            "head_dim": told.get("head_dim") or told["hidden_size"] // told["num_attention_heads"],
            "hidden": told["intermediate_size"],
            "context": told["max_position_embeddings"],
            "rope_base": float(rope.get("rope_theta") or told["rope_theta"]),
            "tie_embeddings": told["tie_word_embeddings"],
            "qk_norm": kinds[told["model_type"]],
            "embedding_norm": False,
            "norm_eps": told["rms_norm_eps"],
        }
    except KeyError as error:
        raise UserError(f"{folder}: config.json has no {error}") from None
    return read_section(Model, shape, f"{folder}/config.json: model")
