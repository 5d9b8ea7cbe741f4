"""The configuration of a run: one schema with every key, read strictly from YAML, a preset and the
user's own keys.
"""

from .analysis_sections import Cost, Embeddings, Evaluate, Publish, Task, Tsne
from .check_sections import Languages, PersonalData
from .checks import check_exportable, check_shape
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
from .forget_sections import Forget, Memorisation
from .load import (
    NAMED_BY_CONTENT,
    SETTINGS_MARK,
    SHOWN_MARK,
    content_digits,
    from_mapping,
    load_config,
    load_settings,
)
from .messages import read_section
from .planning_sections import Candidate, Planning
from .preference_section import Preferences, PreferenceSource
from .schema import Config
from .section import Section, UndeclaredKeyError
from .training_sections import Model, Sft, Train
from .view import as_mapping, every_key, restrict

__all__ = [
    "NAMED_BY_CONTENT",
    "SETTINGS_MARK",
    "SHOWN_MARK",
    "Candidate",
    "Classifier",
    "Config",
    "Cost",
    "Decontaminate",
    "Deduplicate",
    "Embeddings",
    "Evaluate",
    "Forget",
    "Languages",
    "Memorisation",
    "Model",
    "PersonalData",
    "Planning",
    "PreferenceSource",
    "Preferences",
    "Prepare",
    "Publish",
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
    "UndeclaredKeyError",
    "as_mapping",
    "check_exportable",
    "check_shape",
    "content_digits",
    "every_key",
    "from_mapping",
    "load_config",
    "load_settings",
    "read_section",
    "restrict",
]
