"""What was asked of a run, in words: the configuration for somebody who hasn't read it, and what
was changed in it.
"""

from collections.abc import Iterator
from typing import Any

from ..config import Config, Source, as_mapping, from_mapping

__all__ = ["asked", "changed_keys"]


def asked(config: Config) -> list[tuple[str, str]]:
    """(part of the run, what it was to do) in the order of the workflow."""
    model, train = config.model, config.train
    return [
        ("documents", "; ".join(_source(source) for source in config.sources)),
        ("left out", _left_out(config)),
        ("tokenizer", _tokenizer(config)),
        (
            "model",
            f"{model.layers} layers of width {model.width}, {model.heads} attention heads; it looks back over "
            f"{model.context:,} tokens",
        ),
        (
            "pretraining",
            f"{train.steps:,} steps of {train.batch_tokens:,} tokens; {config.prepare.val_fraction:.3g} of the "
            "documents held out to judge it by",
        ),
        ("instruction tuning", _tuning(config)),
        ("chance", f"seed {config.seed}: the same settings make the same choices again"),
    ]


def changed_keys(config: Config) -> list[tuple[str, str, str]]:
    """(key, value, what the preset has) of every key that differs from the preset's; folders and
    names aside.
    """
    own, plain = (
        dict(_flat(as_mapping(c))) for c in (config, from_mapping({"preset": config.preset}))
    )
    keys = [key for key in own if key not in ("results", "preset") and own[key] != plain.get(key)]
    return [(key, own[key], plain.get(key, "–")) for key in keys]


def _source(source: Source) -> str:
    where = {"docs": "docstrings of the packages on the machine", "synthetic": "made-up text"}.get(
        source.builtin or ""
    )
    given = source.path or source.url
    files = given if isinstance(given, str) else ", ".join(given or [])
    parts = [where or source.builtin or files]
    parts += [f"{source.fraction:.3g} of them"] if source.fraction < 1 else []
    parts += [f"at most {source.limit:,}"] if source.limit else []
    parts += [f"weighed {source.weight:g} times"] if source.weight != 1 else []
    return f"{source.name} ({', '.join(parts)})"


def _left_out(config: Config) -> str:
    duplicates = config.deduplicate
    parts = ["exact copies"] if duplicates.exact else []
    parts += (
        [f"near copies (alike from {duplicates.threshold:.0%} on)"] if duplicates.minhash else []
    )
    rules = sum(value not in (None, False) for value in config.quality.model_dump().values())
    parts += [f"what fails {rules} rule{'s' * (rules > 1)} of quality"] if rules else []
    parts += [f"what is not academic ({config.filter})"] if config.filter != "none" else []
    parts += ["documents with text of evaluation sets"] if config.decontaminate.files else []
    return ", ".join(parts) or "nothing"


def _tokenizer(config: Config) -> str:
    given = config.tokenizer
    if given.kind == "bpe":
        what = f"{given.vocab_size:,} tokens, words split as {given.pattern} does"
        return f"{what}; learned from at most {given.train_mb:g} MB of the documents"
    return f"{given.kind} ranks from {given.file}"


def _tuning(config: Config) -> str:
    if config.export != "sft":
        return "none: export is base"
    names = ", ".join(str(source.builtin or source.path) for source in config.sft_data.sources)
    how = f"adapters of rank {config.sft.lora_rank}" if config.sft.lora_rank else "all weights"
    return f"{config.sft.epochs:g} passes over conversations ({names}), {how}"


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, "–" if value is None else str(value)
