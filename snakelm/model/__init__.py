"""The language model: a Qwen3-shaped decoder, its closed-form size, its file and its samples."""

from .decoder import Decoder
from .file import load_model, save_model
from .flops import ModelSize, model_size
from .generate import generate
from .kv_cache import Cache

__all__ = [
    "Cache",
    "Decoder",
    "ModelSize",
    "generate",
    "load_model",
    "model_size",
    "save_model",
]
