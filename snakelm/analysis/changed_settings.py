"""The settings of a run for somebody who hasn't read its configuration: what each part does, in
words, and which keys differ from the preset.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ..config import Config, Source, as_mapping, from_mapping
from ..publishing import publishable

__all__ = ["changed_keys", "describe_settings", "flat_settings"]

BUILTIN = {
    "docs": "docstrings of the installed packages",
    "synthetic": "generated facts",
    "everyday": "generated talk and adverts",
}
EXPECTED = ("results", "preset")  # keys that are a run's own, not a change


def describe_settings(config: Config) -> list[tuple[str, str]]:
    """(part of the run, what it does) in the order of the workflow."""
    model, train = config.model, config.train
    return [
        ("documents", "; ".join(_source(source) for source in config.sources)),
        ("left out", _left_out(config)),
        ("tokenizer", _tokenizer(config)),
        (
            "model",
            f"{model.layers} layers of width {model.width}, {model.heads} attention heads, context "
            f"of {model.context:,} tokens",
        ),
        (
            "pretraining",
            f"{train.steps:,} steps of {train.batch_tokens:,} tokens{_goes_on_from(train.base)}; "
            f"{100 * config.prepare.val_fraction:.3g}% of the documents held out for evaluation",
        ),
        ("instruction tuning", _tuning(config)),
        *([("preferences", _preferences(config))] if config.preferences.sources else []),
        ("randomness", _randomness(config)),
    ]


def changed_keys(config: Config) -> list[tuple[str, str, str]]:
    """(key, value, what the preset has) of every key that differs from the preset's."""
    preset = from_mapping({"preset": config.preset})
    own, plain = (dict(flat_settings(publishable(as_mapping(c)))) for c in (config, preset))
    both = [
        (key, own.get(key, "–"), plain.get(key, "–")) for key in own | plain if key not in EXPECTED
    ]
    return [(key, value, default) for key, value, default in both if value != default]


def flat_settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`{"train": {"lr": 1}}` → `("train.lr", "1")`; mappings in a list by their number."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat_settings(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for i, item in enumerate(value):
                yield from flat_settings(item, f"{prefix}{key}[{i}].")
        else:
            yield prefix + key, "–" if value is None else str(value)


def _randomness(config: Config) -> str:
    seeds = [f"seed {config.seed}"]
    seeds += [f"train.seed {config.train.seed}"] if config.train.seed != config.seed else []
    for name, own in (("sft", config.sft.seed), ("preferences", config.preferences.seed)):
        seeds += [f"{name}.seed {own}"] if own != config.train.seed else []
    return f"{', '.join(seeds)}: the same settings make the same choices again"


def _source(source: Source) -> str:
    given = source.path or source.url
    places = [given] if isinstance(given, str) else given or []
    files = ", ".join(map(publishable, places))
    builtin = source.builtin or ""

    parts = [BUILTIN.get(builtin, builtin or files)]
    parts += [f"{source.fraction:.3g} of them"] if source.fraction < 1 else []
    parts += [f"at most {source.limit:,}"] if source.limit else []
    parts += [f"weight {source.weight:g}"] if source.weight != 1 else []
    return f"{source.name} ({', '.join(parts)})"


def _left_out(config: Config) -> str:
    duplicates = config.deduplicate
    rules = sum(value not in (None, False) for value in config.quality.model_dump().values())

    parts = ["exact copies"] if duplicates.exact else []
    if duplicates.minhash:
        parts.append(f"near copies (similarity of {duplicates.threshold:.0%} or more)")
    if config.forget.of_documents:
        parts.append("documents to be forgotten")
    if config.personal_data.action == "drop":
        parts.append("documents that hold personal data")
    if isinstance(config.languages.keep, list):
        parts.append(f"what is not in {' or '.join(config.languages.keep)}")
    if rules:
        parts.append(f"what fails {rules} quality rule{'s' * (rules > 1)}")
    if config.filter != "none":
        parts.append(f"what is not academic ({config.filter})")
    if config.decontaminate.files:
        parts.append("documents that contain text of evaluation sets")
    masked = "; personal data masked" if config.personal_data.action == "mask" else ""
    return (", ".join(parts) or "nothing") + masked


def _tokenizer(config: Config) -> str:
    tokenizer = config.tokenizer
    if tokenizer.kind == "base":
        return (
            f"{tokenizer.vocab_size:,} tokens: those of train.base, and new ones where it has fewer"
        )
    if tokenizer.kind != "bpe":
        return f"{tokenizer.kind} ranks from {publishable(tokenizer.file)}"
    return (
        f"{tokenizer.vocab_size:,} tokens, words split as {tokenizer.pattern} does; trained on at "
        f"most {tokenizer.train_mb:g} MB of the documents"
    )


def _tuning(config: Config) -> str:
    if config.export != "sft":
        return "none: export is base"

    names = ", ".join(
        str(source.builtin or publishable(source.path)) for source in config.sft_data.sources
    )
    how = f"adapters of rank {config.sft.lora_rank}" if config.sft.lora_rank else "all weights"
    epochs = config.sft.epochs
    passes = "1 epoch" if epochs == 1 else f"{epochs:g} epochs"
    start = _goes_on_from(config.sft.base)
    return f"{passes} of conversations ({names}), {how}{start}"


def _preferences(config: Config) -> str:
    own = config.preferences
    names = ", ".join(str(source.builtin or publishable(source.path)) for source in own.sources)
    how = f"adapters of rank {own.lora_rank}" if own.lora_rank else "all weights"
    return f"{own.loss}, beta {own.beta:g}, on {names}, {how}"


def _goes_on_from(base: str | None) -> str:
    return f", from {publishable(base)}" if base else ""
