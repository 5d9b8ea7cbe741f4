"""The configuration of a run: every key at the top level, and the sections below it.

Values come in three layers: the defaults here, a preset's (presets.py), the user's own keys on top.
config/schema.json and docs/TRAINING_CONFIG.md are generated from these classes (docs.py).
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from .analysis_sections import (
    Cost,
    Embeddings,
    Evaluate,
    Publish,
    SourceAblation,
    Task,
    Tsne,
)
from .check_sections import Languages, PersonalData
from .data_sections import (
    Classifier,
    Decontaminate,
    Deduplicate,
    Prepare,
    Quality,
    SftData,
    Source,
    TokenizerConfig,
)
from .forget_sections import Forget, Memorisation
from .planning_sections import Planning
from .preference_section import Preferences
from .presets import PRESETS
from .section import Section, key, section
from .training_sections import Model, Sft, Train

__all__ = ["Config"]

if TYPE_CHECKING:
    PresetName = str
else:
    PresetName = Literal[tuple(PRESETS)]


class Config(Section):
    """The configuration of a run."""

    preset: PresetName = key("default", "sizes of model, training and data together")
    results: str = key("results", "folder for everything that is produced", cosmetic=True)
    seed: int = key(
        1337, "the one seed: split, tokenizer, weights, batches, samples", ge=0, le=2**32 - 1
    )
    size: int | None = key(
        None,
        "one number instead of a preset: width, depth, vocabulary, batch, steps and rates by the "
        "rules of snakelm/config/dial.py, from what was measured at 4, which is the default; keys "
        "of your own win",
        ge=1,
        le=64,
    )
    sources: list[Source] = Field(
        default_factory=lambda: [Source(builtin="docs")],
        description="where the documents come from",
    )
    on_bad_file: Literal["error", "warn", "skip"] = key(
        "error",
        "a file that can't be read: stop, warn and go on, or skip it silently (all are counted)",
    )
    max_document_mb: float = key(
        64.0,
        "a line, value or text file with more is left out as on_bad_file says, and not kept in "
        "memory",
        unit="MB",
        gt=0,
        le=100_000,
    )
    filter: Literal["none", "setfit", "static", "cascade"] = key(
        "none",
        "keep academic text only: setfit reads every document with the trained sentence model, "
        "static with word vectors distilled from it, cascade runs SetFit only where static is "
        "unsure",
    )
    classifier: Classifier = section(Classifier)
    deduplicate: Deduplicate = section(Deduplicate)
    forget: Forget = section(Forget)
    personal_data: PersonalData = section(PersonalData)
    languages: Languages = section(Languages)
    quality: Quality = section(Quality)
    decontaminate: Decontaminate = section(Decontaminate)
    tokenizer: TokenizerConfig = section(TokenizerConfig)
    prepare: Prepare = section(Prepare)
    model: Model = section(Model)
    train: Train = section(Train)
    evaluate: Evaluate = section(Evaluate)
    sft_data: SftData = section(SftData)
    sft: Sft = section(Sft)
    preferences: Preferences = section(Preferences)
    export: Literal["sft", "base"] = key(
        "sft",
        "which model becomes results/models/final: sft the tuned one, after `preferences` where "
        "there are some; base leaves tuning out",
    )
    publish: Publish = section(Publish)
    tasks: list[Task] = Field(
        default_factory=lambda: [
            Task(builtin="continuation"),
            Task(builtin="answers", kind="greedy"),
        ],
        description="tests for the finished model",
    )
    memorisation: Memorisation = section(Memorisation)
    embeddings: Embeddings = section(Embeddings)
    tsne: Tsne = section(Tsne)
    compare: list[str] = key([], "results folders of other runs, drawn beside this one")
    sweep: dict[str, list[float | int | bool | str | None]] = key(
        {},
        "keys of model and train, each with the values to train with: `snakemake sweep` trains "
        "every combination on the same train.bin and sets them side by side; seed means train.seed",
    )
    plan: Planning = section(Planning)
    source_ablation: SourceAblation = section(SourceAblation)
    cost: Cost = section(Cost)

    @property
    def max_document_bytes(self) -> int:
        """`max_document_mb` in bytes."""
        return int(self.max_document_mb * 1e6)
