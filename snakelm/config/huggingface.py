"""config.json, as transformers writes it: the shape of a Qwen3 or a Llama as ours, or a refusal
that names what makes another function of the same weights (scaled positions, windows, biases,
experts, another activation).

No torch here, so that the configuration of a run that starts from such a folder is complete, or
refused, when it is read.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from ..errors import UserError
from ..json_files import read_json
from ..model_folders import SHAPE
from .checks import check_shape
from .messages import read_section
from .training_sections import Model

__all__ = ["KINDS", "ConfigJson", "read_config_json", "shape_of"]

# qk_norm → model_type and architecture
KINDS = {True: ("qwen3", "Qwen3ForCausalLM"), False: ("llama", "LlamaForCausalLM")}
REMEDY = "export the model again, or name a Qwen3 or Llama"


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
    vocab_size: Annotated[int, Field(gt=0, lt=2**31)]
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


def read_config_json(folder: Path) -> ConfigJson:
    """UserError for another kind of model, by its name; then for what in it is damaged, or makes
    another function of the weights than ours.
    """
    path = folder / SHAPE
    kind = read_json(path, remedy=REMEDY).get("model_type")
    kinds = [name for name, _ in KINDS.values()]
    if kind not in kinds:
        raise UserError(f"{folder}: a {kind!r} model; expected one of {', '.join(kinds)}")
    return read_json(path, ConfigJson, remedy=REMEDY)


def shape_of(folder: Path, config: ConfigJson) -> Model:
    """The keys of `model` that the folder stands for; UserError for a network that can't be
    built.
    """
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
    bases: list[object] = [] if config.rope_theta is None else [config.rope_theta]
    for rope in (config.rope_parameters or {}, config.rope_scaling or {}):
        kind = rope.get("rope_type", rope.get("type", "default"))
        by_layer = any(isinstance(value, dict) for value in rope.values())
        if kind != "default" or rope.get("partial_rotary_factor", 1) != 1 or by_layer:
            words = "that differ by layer" if by_layer else f"of type {kind!r}"
            raise UserError(f"{folder}: rotary positions {words}; expected default")
        bases += [rope["rope_theta"]] if rope.get("rope_theta") is not None else []

    numbers: list[float] = []
    for base in bases or [None]:
        if not isinstance(base, int | float) or isinstance(base, bool) or base <= 0:
            raise UserError(f"{folder}: config.json: rope_theta: found {base!r}; expected a number")
        numbers.append(float(base))
    if any(other != numbers[0] for other in numbers):
        raise UserError(
            f"{folder}: config.json: rope_theta: found {' and '.join(map(str, bases))}, of which "
            "each version of transformers takes another; leave the wrong one out"
        )
    return numbers[0]
