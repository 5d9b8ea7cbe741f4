"""The configuration of a run: one schema with every key, read strictly from YAML, a preset and the
user's own keys.
"""

from .analysis_sections import Cost, Embeddings, Evaluate, Task, Tsne
from .data_sections import (
    Classifier,
    Decontaminate,
    Deduplicate,
    Prepare,
    Quality,
    SftData,
    SftSource,
    Source,
    TokenizerConfig,
)
from .load import from_mapping, load_config
from .messages import read_section
from .schema import Config
from .section import Section
from .training_sections import Model, Sft, Train
from .view import as_mapping, config_view, every_key

__all__ = [
    "Classifier",
    "Config",
    "Cost",
    "Decontaminate",
    "Deduplicate",
    "Embeddings",
    "Evaluate",
    "Model",
    "Prepare",
    "Quality",
    "Section",
    "Sft",
    "SftData",
    "SftSource",
    "Source",
    "Task",
    "TokenizerConfig",
    "Train",
    "Tsne",
    "as_mapping",
    "config_view",
    "every_key",
    "from_mapping",
    "load_config",
    "read_section",
]
