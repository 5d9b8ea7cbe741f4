"""The model as transformers, lm-evaluation-harness and llama.cpp know it: Qwen3, or Llama with
qk_norm off.

Weights change their names and nothing else, with one exception: an RMS-norm after the embedding is
a function of the token alone, so it is folded into the table. With tied embeddings that is
impossible, for the head uses the same table; the configuration refuses such a shape.

The other way, a folder of that form becomes a Decoder without the norm after the embedding: other
weights in the table, the same function, and the same folder when it is exported again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from pytorch_ext import rms_norm

from ..config import Model, check_exportable, check_shape, read_section
from ..errors import UserError
from ..json_files import read_json
from .decoder import Decoder
from .file import VocabularySize, first_misfit, weight_sizes

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
# qk_norm → model_type and architecture
KINDS = {True: ("qwen3", "Qwen3ForCausalLM"), False: ("llama", "LlamaForCausalLM")}

T = TypeVar("T")


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


class ConfigJson(BaseModel):
    """What of a config.json says how the weights are used; transformers writes much more."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    model_type: Literal["qwen3", "llama"]
    num_hidden_layers: PositiveInt
    hidden_size: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt | None = None  # as many as there are heads
    head_dim: PositiveInt | None = None
    intermediate_size: PositiveInt
    max_position_embeddings: PositiveInt
    rms_norm_eps: PositiveFloat
    tie_word_embeddings: bool = False
    vocab_size: VocabularySize
    rope_theta: PositiveFloat | None = None  # transformers 4
    rope_scaling: dict[str, object] | None = None  # transformers 4
    rope_parameters: dict[str, object] | None = None  # transformers 5

    # What would make another function of the same weights.
    hidden_act: Literal["silu", "swish"] = "silu"
    attention_bias: Literal[False] | None = None
    mlp_bias: Literal[False] | None = None
    use_sliding_window: Literal[False] | None = None
    layer_types: list[Literal["full_attention"]] | None = None
    partial_rotary_factor: Annotated[float, Field(ge=1, le=1)] | None = None
    quantization_config: None = None


def from_huggingface(folder: str | Path) -> Decoder:
    """The model of a folder with config.json and model.safetensors; UserError for a folder that
    isn't one, or whose files don't fit each other.
    """
    folder = Path(folder)
    config = _read_config(folder)
    shape = _shape(folder, config)
    _check_weights(folder, shape, config.vocab_size)

    from safetensors.torch import load_file

    weights = _read(folder / "model.safetensors", load_file)
    model = Decoder(shape, config.vocab_size)
    model.load_state_dict(
        {n: weights.pop(huggingface_name(n)) for n, _ in model.named_parameters()}
    )
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise UserError(f"{folder}: {huggingface_name(name)} has NaN or infinity in it")
    return model.eval()


def _read_config(folder: Path) -> ConfigJson:
    """UserError for another kind of model, by its name; then for what in it is damaged, or makes
    another function of the weights than ours.
    """
    path, remedy = folder / "config.json", "export the model again, or name a Qwen3 or Llama"
    kind = read_json(path, remedy=remedy).get("model_type")
    kinds = [name for name, _ in KINDS.values()]
    if kind not in kinds:
        raise UserError(f"{folder}: a {kind!r} model; expected one of {', '.join(kinds)}")
    return read_json(path, ConfigJson, remedy=remedy)


def _check_weights(folder: Path, shape: Model, vocab_size: int) -> None:
    """UserError unless the weights are those of ``shape``, by what the file's head says of them:
    nothing is allocated for a folder that doesn't fit.
    """
    heads = _read(folder / "model.safetensors", _heads)
    expected = {huggingface_name(n): size for n, size in weight_sizes(shape, vocab_size).items()}
    if foreign := sorted(heads.keys() - expected.keys()):
        raise UserError(
            f"{folder}: weights that config.json has no place for: {', '.join(foreign[:3])}"
        )
    if misfit := first_misfit({name: size for name, (_, size) in heads.items()}, expected):
        raise UserError(f"{folder}: weights don't fit config.json: {misfit}")
    for name, (dtype, _) in heads.items():
        if dtype not in DTYPES:
            raise UserError(f"{folder}: {name} is {dtype}; expected one of {', '.join(DTYPES)}")


def _heads(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name → dtype and size of each weight, from the file's head."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}


def _read(path: Path, reader: Callable[[Path], T]) -> T:
    """What ``reader`` makes of a safetensors file; UserError when it can't be read."""
    from safetensors import SafetensorError

    try:
        return reader(path)
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing; expected a model's folder with config.json and model.safetensors"
        ) from None
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: can't be read ({reason}); export the model again") from None


def _shape(folder: Path, config: ConfigJson) -> Model:
    shape = {
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads or config.num_attention_heads,
        "head_dim": config.head_dim or config.hidden_size // config.num_attention_heads,
        "hidden": config.intermediate_size,
        "context": config.max_position_embeddings,
        "rope_base": _rope_base(folder, config),
        "tie_embeddings": config.tie_word_embeddings,
        "qk_norm": config.model_type == KINDS[True][0],
        "embedding_norm": False,
        "norm_eps": config.rms_norm_eps,
    }

    where = f"{folder}/config.json: model"
    checked = read_section(Model, shape, where)
    check_shape(checked, where)
    return checked


def _rope_base(folder: Path, config: ConfigJson) -> float:
    """From where either version of transformers keeps it; scaled rotations aren't ours."""
    rope = config.rope_parameters or config.rope_scaling or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default" or rope.get("partial_rotary_factor", 1) != 1:
        raise UserError(f"{folder}: rotary positions of type {kind!r}; expected default")

    base = rope.get("rope_theta") or config.rope_theta
    if not isinstance(base, int | float) or isinstance(base, bool) or base <= 0:
        raise UserError(f"{folder}: config.json: rope_theta: found {base!r}; expected a number")
    return float(base)
