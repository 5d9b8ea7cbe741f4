"""The language model: a Qwen3-shaped decoder, its closed-form counts, its file and its samples."""

from .kv_cache import Cache
from .flops import Counts, counts
from .decoder import Decoder
from .file import load_model, save_model
from .generate import generate

__all__ = ["Cache", "Counts", "Decoder", "counts", "generate", "load_model", "save_model"]
