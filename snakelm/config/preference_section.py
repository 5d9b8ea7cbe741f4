"""The section of learning from preferences, after instruction tuning, and its checks."""

from typing import Literal

from ..errors import UserError
from .data_sections import SourceKind
from .section import MANY, Section, key

__all__ = ["PreferenceSource", "Preferences", "check_preferences"]


class PreferenceSource(Section):
    """One source of preferences: exactly one of path and builtin."""

    path: str | list[str] | None = key(None, "parquet or JSONL files, globs allowed")
    builtin: Literal["docs"] | None = key(
        None, "docs: the built-in questions, each with its right answer and a wrong one"
    )
    columns: dict[str, str] = key(
        {},
        "prompt, chosen, rejected, completion, label → the column's name in the file, where they "
        "differ",
    )
    limit: int | None = key(None, "most pairs to take, chosen by hash", unit="pairs", ge=1, le=MANY)
    licence: str | None = key(None, "what its owner allows, in your words", cosmetic=True)
    kind: SourceKind | None = key(
        None, "what the training-content summary lists it as, as for sources", cosmetic=True
    )


class Preferences(Section):
    """Learning which answers are wanted: pairs or labels in, sft_model.pt to
    results/preference_model.pt. Off without sources.
    """

    sources: list[PreferenceSource] = key(
        [], "where the preferences come from; empty leaves this stage out"
    )
    loss: Literal["dpo", "kto"] = key(
        "dpo",
        "dpo compares the two sides of a pair (Rafailov et al. 2023), kto judges each answer by "
        "its label (Ethayarajh et al. 2024)",
    )
    beta: float = key(
        0.1, "how strongly the model is held to the tuned one it starts from", gt=0, le=100
    )
    label_smoothing: float = key(
        0.0, "share of the pairs that are taken to be the wrong way round (dpo)", ge=0, le=0.49
    )
    desirable_weight: float = key(1.0, "weight of good answers (kto)", gt=0, le=1000)
    undesirable_weight: float = key(1.0, "weight of bad answers (kto)", gt=0, le=1000)
    context: int | None = key(
        None, "most tokens of a side; null for model.context", unit="tokens", ge=8, le=1_048_576
    )
    val_fraction: float = key(
        0.05,
        "share of the questions held out, chosen by hash; at least that of sft_data, so that none "
        "is learned that tuning holds out",
        gt=0,
        le=0.5,
    )
    epochs: float = key(1.0, "times each pair is seen", gt=0, le=1000)
    batch_rows: int = key(
        4,
        "packed rows in an optimizer step; a pair too long for one row takes two and counts as one",
        unit="rows",
        ge=1,
        le=MANY,
    )
    micro_batch: int = key(
        8, "rows in one forward pass, counted likewise", unit="rows", ge=1, le=MANY
    )
    lr: float = key(0.002, "peak learning rate of the matrices (Muon)", gt=0, le=1)
    embedding_lr: float = key(
        0.0003, "peak learning rate of the embedding table (AdamW)", gt=0, le=1
    )
    head_lr: float = key(0.00015, "peak learning rate of the output head (AdamW)", gt=0, le=1)
    scalar_lr: float = key(0.0003, "peak learning rate of the norms' gains (AdamW)", gt=0, le=1)
    weight_decay: float = key(
        0.0, "decoupled weight decay of the matrices; none of low-rank updates", ge=0, le=1
    )
    warmup: float = key(
        0.1, "first share of the steps, over which the learning rate rises", ge=0, le=1
    )
    clip: float | None = key(
        1.0, "gradient norm above which gradients are scaled down; null for never", gt=0
    )
    lora_rank: int = key(
        0,
        "rank of low-rank updates of the matrices inside blocks, which alone learn then, at "
        "lora_lr; 0 trains all weights",
        ge=0,
        le=4096,
    )
    lora_alpha: float = key(16.0, "scale of the low-rank updates: alpha / rank", gt=0)
    lora_lr: float = key(0.001, "peak learning rate of the low-rank updates (AdamW)", gt=0, le=1)
    seed: int | None = key(
        None, "chance in this training: order of the packs; null for train.seed", ge=0, le=2**32 - 1
    )
    eval_every: int = key(
        50, "steps between evaluations", unit="steps", ge=1, le=MANY, cosmetic=True
    )
    save_every: int = key(
        50, "steps between checkpoints", unit="steps", ge=1, le=MANY, cosmetic=True
    )
    keep: int = key(2, "newest checkpoints kept; older ones go", ge=1, le=MANY, cosmetic=True)
    log_every: int = key(
        10, "steps between lines of the metrics file", unit="steps", ge=1, le=MANY, cosmetic=True
    )


def check_preferences(preferences: Preferences, export: str) -> None:
    """UserError for sources that can't be read or learned from, and for keys without effect."""
    for i, source in enumerate(preferences.sources):
        given = [name for name in ("path", "builtin") if getattr(source, name)]
        if len(given) != 1:
            raise UserError(
                f"preferences.sources[{i}]: found {' and '.join(given) or 'none'} of path, "
                "builtin; give exactly one"
            )

    if preferences.sources and export == "base":
        raise UserError(
            "preferences.sources: they are learned by the tuned model, and export: base leaves "
            "instruction tuning out; set export: sft, or take the sources out"
        )
    of_other = {
        "kto": ("label_smoothing",),
        "dpo": ("desirable_weight", "undesirable_weight"),
    }[preferences.loss]
    for name in of_other:
        found, default = getattr(preferences, name), Preferences.model_fields[name].default
        if found != default:
            other = "dpo" if preferences.loss == "kto" else "kto"
            raise UserError(
                f"preferences.{name}: found {found:g}, which preferences.loss: {preferences.loss} "
                f"doesn't read; leave it out, or set loss: {other}"
            )
