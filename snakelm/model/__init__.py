"""The language model: a Qwen3-shaped decoder, its closed-form counts, its file and its samples."""

from .decoder import Decoder
from .file import load_model, save_model
from .flops import Counts, counts
from .generate import generate
from .kv_cache import Cache

__all__ = ["Cache", "Counts", "Decoder", "counts", "generate", "load_model", "save_model"]
