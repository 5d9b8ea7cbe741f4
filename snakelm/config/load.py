"""The one schema of the configuration: every key with its type, unit, range and reason.

config/schema.json and docs/TRAINING_CONFIG.md are generated from it (`python -m
snakelm.config_docs`). Values come in three layers: the defaults here, a preset
(snakelm/presets.py), a person's own keys on top.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from .analysis_schema import Cost, Embeddings, Task, Tsne
from .checks import Key, build, key
from .presets import PRESETS
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

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"  # of sources and tasks: in file names, in tables and in figures

BUILTIN_TASKS = {"continuation": "choice", "answers": "greedy"}


@dataclass(frozen=True)
class Config:
    """A whole run."""

    preset: str = key(
        "default", "sizes of model, training and data together", choices=tuple(PRESETS)
    )
    results: str = key("results", "folder for everything that is produced", cosmetic=True)
    seed: int = key(1337, "the one seed: split, weights, batches, samples", low=0, high=2**32 - 1)
    sources: list[Source] = key([Source(builtin="docs")], "where the documents come from")
    on_bad_file: str = key(
        "error",
        "a file that can't be read: stop, go on and say so, or go on in silence (all are counted)",
        choices=("error", "warn", "skip"),
    )
    filter: str = key(
        "none",
        "keep academic text only: setfit reads every document with the trained sentence model, static with word "
        "vectors distilled from it, cascade asks SetFit only where static is in doubt",
        choices=("none", "setfit", "static", "cascade"),
    )
    classifier: Classifier = key(Classifier, "the filter's model")
    deduplicate: Deduplicate = key(Deduplicate, "duplicates")
    quality: Quality = key(Quality, "rules on the text")
    decontaminate: Decontaminate = key(Decontaminate, "evaluation sets that training must not see")
    tokenizer: TokenizerConfig = key(TokenizerConfig, "text to tokens")
    prepare: Prepare = key(Prepare, "documents to token files")
    model: Model = key(Model, "the network")
    train: Train = key(Train, "pretraining")
    evaluate: Evaluate = key(Evaluate, "evaluation")
    sft_data: SftData = key(SftData, "conversations for instruction tuning")
    sft: Sft = key(Sft, "instruction tuning")
    export: str = key(
        "sft",
        "which model becomes results/models/final; base leaves instruction tuning out",
        choices=("sft", "base"),
    )
    tasks: list[Task] = key(
        [Task(builtin="continuation"), Task(builtin="answers", kind="greedy")],
        "tests for the finished model",
    )
    embeddings: Embeddings = key(Embeddings, "vectors of documents")
    tsne: Tsne = key(Tsne, "the map of documents")
    compare: list[str] = key([], "results folders of other runs, drawn beside this one")
    cost: Cost = key(Cost, "energy and money")


def load_config(
    files: Iterable[str | Path] = (), overrides: Mapping[str, Any] | None = None
) -> Config:
    """Reads YAML files, later ones over earlier ones, then ``overrides``; checks everything; gives
    the whole config.
    """
    merged: dict[str, Any] = {}
    for file in files:
        merged = _merge(merged, _read(Path(file)))
    return from_mapping(_merge(merged, overrides or {}))


def from_mapping(values: Mapping[str, Any]) -> Config:
    """The config that a plain mapping of a person's keys stands for; raises UserError naming the
    key that is wrong.
    """
    preset = values.get("preset", "default")
    if not isinstance(preset, str) or preset not in PRESETS:
        build(Config, {"preset": preset})
    config = build(Config, _merge(PRESETS[preset], values))
    return _tested(_tuned(_named(_consistent(config))))


def as_mapping(
    config: Config, sections: Iterable[str] = (), *, cosmetic: bool = True
) -> dict[str, Any]:
    """The config as plain YAML types: the top-level keys in ``sections`` (all when none are named).

    Without ``cosmetic``, keys that don't change a result are left out; what is left is what a
    fingerprint is made of.
    """
    wanted = set(sections)
    result = {}
    for f in dataclasses.fields(config):
        if (not wanted or f.name in wanted) and (cosmetic or not _rule(f).cosmetic):
            result[f.name] = _plain(getattr(config, f.name), cosmetic)
    return result


def _plain(value: Any, cosmetic: bool) -> Any:
    if dataclasses.is_dataclass(value):
        kept = [f for f in dataclasses.fields(value) if cosmetic or not _rule(f).cosmetic]
        return {f.name: _plain(getattr(value, f.name), cosmetic) for f in kept}
    return [_plain(item, cosmetic) for item in value] if isinstance(value, list) else value


def _rule(f: dataclasses.Field) -> Key:
    return f.metadata["key"]


def _read(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: no such config file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict | None):
        raise UserError(f"{file}: found {type(values).__name__}, expected `key: value` lines")
    return values or {}


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merge(merged[name], value) if both else value
    return merged


def _consistent(config: Config) -> Config:
    """What no single key can say: combinations that can't work."""
    model, train = config.model, config.train
    problems = {
        "model.kv_heads": (
            model.heads % model.kv_heads,
            f"{model.kv_heads} does not divide model.heads {model.heads}",
        ),
        "model.head_dim": (
            model.head_dim % 2,
            f"{model.head_dim} is odd; rotary embedding turns pairs",
        ),
        "model.tie_embeddings": (
            model.tie_embeddings and model.embedding_norm,
            "true and model.embedding_norm true make a model that no other tool loads; say embedding_norm: false",
        ),
        "train.batch_tokens": (
            train.batch_tokens % (model.context * train.processes),
            f"{train.batch_tokens} is no multiple of model.context {model.context} × train.processes {train.processes}",
        ),
        "tokenizer.file": (
            config.tokenizer.kind == "tiktoken" and not config.tokenizer.file,
            "missing; kind: tiktoken reads its ranks from a file",
        ),
        "prepare.token_bits": (
            config.prepare.token_bits == "16"
            and config.tokenizer.kind == "bpe"
            and config.tokenizer.vocab_size > 65_535,
            f"16 bits hold ids up to 65,535; tokenizer.vocab_size is {config.tokenizer.vocab_size}; say 32 or auto",
        ),
        "sources": (not config.sources, "empty; name at least one source"),
        "results": (
            not re.fullmatch(r"[^-{}\s\0][^{}\n\0]*", config.results),
            f"found {config.results!r}, allowed is a folder; no braces or line breaks, no - in front",
        ),
    }
    for name, (wrong, message) in problems.items():
        if wrong:
            raise UserError(f"{name}: {message}")
    return config


def _named(config: Config) -> Config:
    """Gives every source a name of its own and checks that it says where its documents are."""
    named: list[Source] = []
    for i, source in enumerate(config.sources):
        given = [k for k in ("path", "url", "builtin") if getattr(source, k)]
        if len(given) != 1:
            raise UserError(
                f"sources[{i}]: found {' and '.join(given) or 'none'} of path, url, builtin; give exactly one"
            )
        urls, hashes = len(_many(source.url)), len(_many(source.sha256))
        if urls != hashes:
            raise UserError(
                f"sources[{i}].sha256: found {hashes} for {urls} url; give one each, in order"
            )
        name = source.name or _name_from(source)
        if not re.fullmatch(NAME, name):
            raise UserError(
                f"sources[{i}].name: found {name!r}, allowed are letters, digits and _.- (at most 64)"
            )
        if any(name == other.name for other in named):
            if source.name:
                raise UserError(f"sources[{i}].name: {name!r} is taken by another source")
            name = f"{name}-{i}"
        named.append(dataclasses.replace(source, name=name))
    return dataclasses.replace(config, sources=named)


def _tuned(config: Config) -> Config:
    """Checks that every source of conversations says where they are, and fills in the length of a
    pack.

    The length is a key of its own, so that a step that packs needn't know the model.
    """
    data = config.sft_data
    if not data.sources:
        raise UserError("sft_data.sources: empty; name at least one source")
    for i, source in enumerate(data.sources):
        given = [k for k in ("path", "builtin") if getattr(source, k)]
        if len(given) != 1:
            raise UserError(
                f"sft_data.sources[{i}]: found {' and '.join(given) or 'none'} of path, builtin; give exactly one"
            )
    filled = dataclasses.replace(data, context=data.context or config.model.context)
    return dataclasses.replace(config, sft_data=filled)


def _tested(config: Config) -> Config:
    """Gives every task a name of its own and checks that it says where its items are."""
    tasks: list[Task] = []
    for i, task in enumerate(config.tasks):
        given = [k for k in ("path", "builtin") if getattr(task, k)]
        if len(given) != 1:
            raise UserError(
                f"tasks[{i}]: found {' and '.join(given) or 'none'} of path, builtin; give exactly one"
            )
        name = task.name or task.builtin or _stem(_many(task.path)[0])
        if not re.fullmatch(NAME, name):
            raise UserError(
                f"tasks[{i}].name: found {name!r}, allowed are letters, digits and _.- (at most 64)"
            )
        if any(name == other.name for other in tasks):
            raise UserError(f"tasks[{i}].name: {name!r} is taken by another task; give it a name")
        if task.builtin and task.kind != BUILTIN_TASKS[task.builtin]:
            raise UserError(
                f"tasks[{i}].kind: found {task.kind!r}, the built-in {task.builtin} is {BUILTIN_TASKS[task.builtin]}"
            )
        if task.builtin and task.shots:
            raise UserError(f"tasks[{i}].shots: found {task.shots}, a built-in task takes none")
        tasks.append(dataclasses.replace(task, name=name))
    return dataclasses.replace(config, tasks=tasks)


def _many(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _name_from(source: Source) -> str:
    if source.builtin:
        return source.builtin
    return _stem(_many(source.path or source.url)[0])


def _stem(path: str) -> str:
    """`my/notes-*.parquet` → `my`: the last part that is no pattern, in characters that a file name
    may have.
    """
    parts = [p for p in re.split(r"[/\\]", path) if p and not re.search(r"[*?\[]", p)]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", parts[-1].split(".")[0] if parts else "").strip("-_")
    return stem[:40] or "source"
