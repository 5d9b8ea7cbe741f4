"""The configuration of a run: one schema with every key, read strictly from YAML, a preset and a
person's own keys.
"""

from .analysis_schema import Cost, Embeddings, Task, Tsne
from .load import Config, as_mapping, from_mapping, load_config
from .schema import (
    Classifier,
    Decontaminate,
    Deduplicate,
    Evaluate,
    Model,
    Prepare,
    Quality,
    Sft,
    SftData,
    SftSource,
    Source,
    TokenizerConfig,
    Train,
)

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
    "Sft",
    "SftData",
    "SftSource",
    "Source",
    "Task",
    "TokenizerConfig",
    "Train",
    "Tsne",
    "as_mapping",
    "from_mapping",
    "load_config",
]
