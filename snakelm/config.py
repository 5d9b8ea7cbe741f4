"""The one schema of the configuration: every key with its type, unit, range and reason.

config/schema.json and docs/TRAINING_CONFIG.md are generated from it (`python -m snakelm.config_docs`). Values come in
three layers: the defaults here, a preset (snakelm/presets.py), a person's own keys on top.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .config_check import Key, build, key
from .errors import UserError
from .presets import PRESETS

__all__ = [
    "Config",
    "Deduplicate",
    "Evaluate",
    "Model",
    "Prepare",
    "Source",
    "TokenizerConfig",
    "Train",
    "as_mapping",
    "from_mapping",
    "load_config",
]


@dataclass(frozen=True)
class Source:
    """One source of documents: exactly one of path, url and builtin."""

    name: str | None = key(None, "name in file names, counts and figures; made from the path when left out")
    path: str | list[str] | None = key(None, "local files, globs allowed")
    url: str | list[str] | None = key(None, "http(s) addresses, fetched with retries")
    sha256: str | list[str] | None = key(None, "SHA-256 each fetched file must have, in the order of url")
    builtin: str | None = key(
        None, "docs: docstrings of installed packages; synthetic: generated", choices=("docs", "synthetic")
    )
    text: str = key("text", "column (parquet) or field (JSONL) with the text; dots reach into nested fields")
    format: str = key("auto", "by the file's name when auto", choices=("auto", "parquet", "jsonl", "text"))
    fraction: float = key(1.0, "share of the documents to take, chosen by document hash", above=0, high=1)
    limit: int | None = key(None, "at most so many documents, chosen by document hash", unit="documents", low=1)
    weight: float = key(1.0, "times a document stands in train.bin; 0.5 is a half, chosen by hash", above=0, high=100)


@dataclass(frozen=True)
class Deduplicate:
    """Exact and near duplicates, over all sources, before the validation split."""

    exact: bool = key(True, "drop documents whose text was seen before")
    minhash: bool = key(True, "drop near-duplicates too (MinHash with locality-sensitive hashing)")
    threshold: float = key(0.7, "estimated Jaccard similarity from which two documents count as one", above=0, high=1)
    permutations: int = key(128, "length of a MinHash signature", low=16, high=1024)
    shingle: int = key(5, "length of the word n-grams compared", unit="words", low=1, high=50)


@dataclass(frozen=True)
class TokenizerConfig:
    """Byte-level BPE: trained on the run's own text, or an encoding brought as a tiktoken ranks file."""

    kind: str = key("bpe", "bpe trains one; tiktoken reads `file`", choices=("bpe", "tiktoken"))
    vocab_size: int = key(8192, "tokens, the end-of-text token included (bpe)", unit="tokens", low=258, high=1_000_000)
    pattern: str = key("cl100k", "how text is split into words before merging", choices=("gpt2", "cl100k", "o200k"))
    file: str | None = key(None, "ranks file in tiktoken's format (tiktoken)")
    train_mb: float = key(64.0, "text the merges are learned from, spread evenly", unit="MB", above=0)


@dataclass(frozen=True)
class Prepare:
    """Documents to token files."""

    val_fraction: float = key(0.02, "share of the documents held out, chosen by document hash", above=0, high=0.5)
    shards: int = key(
        2,
        "jobs that tokenising is spread over; the bytes of train.bin don't depend on it",
        low=1,
        high=10_000,
        cosmetic=True,
    )
    token_bits: str = key(
        "auto", "width of a token in the file; auto takes 16 when the vocabulary fits", choices=("auto", "16", "32")
    )


@dataclass(frozen=True)
class Model:
    """A Qwen3-shaped decoder; Llama-shaped with qk_norm off."""

    layers: int = key(2, "transformer blocks", low=1, high=200)
    width: int = key(256, "size of the residual stream", low=8, high=65_536)
    heads: int = key(4, "query heads", low=1, high=1024)
    kv_heads: int = key(4, "key and value heads; divides heads", low=1, high=1024)
    head_dim: int = key(64, "size of a head; even, for rotary pairs", low=2, high=512)
    hidden: int = key(512, "inner size of the SwiGLU block", low=8, high=1_000_000)
    context: int = key(256, "positions a query may look back over", unit="tokens", low=8, high=1_048_576)
    rope_base: float = key(10_000.0, "base of the rotary frequencies", above=1)
    tie_embeddings: bool = key(False, "one matrix for embedding and output head")
    qk_norm: bool = key(True, "RMS-norm of each query and key head, before the rotation")
    embedding_norm: bool = key(True, "RMS-norm right after the embedding; folds into the table at export when untied")
    norm_eps: float = key(1e-6, "added under the root of every RMS-norm", above=0, high=0.1)


@dataclass(frozen=True)
class Train:
    """Pretraining: Muon for matrices, AdamW for the rest; warm-up, flat, linear decay."""

    steps: int = key(850, "optimizer steps", unit="steps", low=1)
    batch_tokens: int = key(2048, "tokens in an optimizer step, over all devices", unit="tokens", low=8)
    micro_batch: int = key(8, "rows of `context` tokens in one forward pass", unit="rows", low=1)
    start: str = key(
        "auto",
        "weights before the first step: bigrams sets embedding and head from counted pairs of tokens (untied head, "
        "embedding_norm, at most 8192 tokens; auto takes it there)",
        choices=("auto", "bigrams", "random"),
    )
    lr: float = key(0.045, "peak learning rate of Muon, the matrices inside blocks", above=0, high=1)
    embedding_lr: float = key(
        0.02, "peak learning rate of the embedding table (AdamW); a random start wants 0.4", above=0, high=1
    )
    head_lr: float = key(
        0.002, "peak learning rate of the output head (AdamW); a random start wants 0.01", above=0, high=1
    )
    scalar_lr: float = key(0.02, "peak learning rate of the norms' gains (AdamW)", above=0, high=1)
    weight_decay: float = key(0.0, "decoupled weight decay of the matrices", low=0, high=1)
    momentum: float = key(0.95, "Muon's momentum once warmed up (from 0.85 over 300 steps)", low=0, high=0.999)
    beta1: float = key(0.9, "AdamW's first-moment decay", low=0, high=0.9999)
    beta2: float = key(0.95, "AdamW's second-moment decay", low=0, high=0.9999)
    warmup: int = key(20, "steps from 0 to the peak learning rate", unit="steps", low=0)
    decay: float = key(0.6, "last share of the run over which the learning rate falls to 0", low=0, high=1)
    clip: float | None = key(1.0, "gradient norm above which gradients are scaled down; null for never", above=0)
    precision: str = key(
        "auto", "auto takes bf16 where the device multiplies it natively", choices=("auto", "bf16", "fp32")
    )
    device: str = key("auto", "auto takes cuda, then mps, then cpu", choices=("auto", "cuda", "mps", "cpu"))
    compile: str = key("auto", "torch.compile; auto decides by the length of the run", choices=("auto", "on", "off"))
    attention: str = key(
        "auto", "kernel behind pytorch_ext.attention", choices=("auto", "cpu", "cuda", "triton", "sdpa", "reference")
    )
    on_nan: str = key(
        "error", "a loss that is no number: stop, or skip the step (at most 3 in a row)", choices=("error", "skip")
    )
    processes: int = key(1, "data-parallel processes on this machine (torchrun)", low=1, high=1024)
    eval_every: int = key(200, "steps between evaluations", unit="steps", low=1, cosmetic=True)
    eval_tokens: int | None = key(
        65_536,
        "held-out tokens of an evaluation on the way, from documents at even distances; the last one takes all",
        unit="tokens",
        low=1,
        cosmetic=True,
    )
    save_every: int = key(200, "steps between checkpoints", unit="steps", low=1, cosmetic=True)
    keep: int = key(3, "newest checkpoints kept; older ones go", low=1, cosmetic=True)
    log_every: int = key(10, "steps between lines of the metrics file", unit="steps", low=1, cosmetic=True)
    sample_tokens: int = key(48, "tokens generated at each evaluation; 0 for none", unit="tokens", low=0, cosmetic=True)
    sample_prompt: str = key("The function returns", "what each sample goes on from", cosmetic=True)


@dataclass(frozen=True)
class Evaluate:
    """Bits per byte, and what it is held against."""

    clean_share: float = key(
        0.1, "held-out documents with less than this share of copied text count as clean", above=0, high=1
    )
    span: int = key(
        16, "length of a span that counts as copied when training text has it too", unit="tokens", low=2, high=1024
    )
    compressor_mb: float = key(
        32.0, "text the compressor reads, on either side at most; documents at even distances", unit="MB", above=0
    )


@dataclass(frozen=True)
class Config:
    """A whole run."""

    preset: str = key("default", "sizes of model, training and data together", choices=tuple(PRESETS))
    results: str = key("results", "folder for everything that is produced", cosmetic=True)
    seed: int = key(1337, "the one seed: split, weights, batches, samples", low=0, high=2**32 - 1)
    sources: list[Source] = key([Source(builtin="docs")], "where the documents come from")
    on_bad_file: str = key(
        "error",
        "a file that can't be read: stop, go on and say so, or go on in silence (all are counted)",
        choices=("error", "warn", "skip"),
    )
    filter: str = key("none", "quality filter before training; none so far", choices=("none",))
    deduplicate: Deduplicate = key(Deduplicate, "duplicates")
    tokenizer: TokenizerConfig = key(TokenizerConfig, "text to tokens")
    prepare: Prepare = key(Prepare, "documents to token files")
    model: Model = key(Model, "the network")
    train: Train = key(Train, "pretraining")
    evaluate: Evaluate = key(Evaluate, "evaluation")


def load_config(files: Iterable[str | Path] = (), overrides: Mapping[str, Any] | None = None) -> Config:
    """Reads YAML files, later ones over earlier ones, then ``overrides``; checks everything; gives the whole config."""
    merged: dict[str, Any] = {}
    for file in files:
        merged = _merge(merged, _read(Path(file)))
    return from_mapping(_merge(merged, overrides or {}))


def from_mapping(values: Mapping[str, Any]) -> Config:
    """The config that a plain mapping of a person's keys stands for; raises UserError naming the key that is wrong."""
    preset = values.get("preset", "default")
    if not isinstance(preset, str) or preset not in PRESETS:
        build(Config, {"preset": preset})
    config = build(Config, _merge(PRESETS[preset], values))
    return _named(_consistent(config))


def as_mapping(config: Config, sections: Iterable[str] = (), *, cosmetic: bool = True) -> dict[str, Any]:
    """The config as plain YAML types: the top-level keys in ``sections`` (all when none are named).

    Without ``cosmetic``, keys that don't change a result are left out; what is left is what a fingerprint is made of.
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
        "model.kv_heads": (model.heads % model.kv_heads, f"{model.kv_heads} does not divide model.heads {model.heads}"),
        "model.head_dim": (model.head_dim % 2, f"{model.head_dim} is odd; rotary embedding turns pairs"),
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
            raise UserError(f"sources[{i}].sha256: found {hashes} for {urls} url; give one each, in order")
        name = source.name or _name_from(source)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise UserError(f"sources[{i}].name: found {name!r}, allowed are letters, digits and _.- (at most 64)")
        if any(name == other.name for other in named):
            if source.name:
                raise UserError(f"sources[{i}].name: {name!r} is taken by another source")
            name = f"{name}-{i}"
        named.append(dataclasses.replace(source, name=name))
    return dataclasses.replace(config, sources=named)


def _many(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _name_from(source: Source) -> str:
    if source.builtin:
        return source.builtin
    first = _many(source.path or source.url)[0]
    parts = [p for p in re.split(r"[/\\]", first) if p and not re.search(r"[*?\[]", p)]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", parts[-1].split(".")[0] if parts else "").strip("-_")
    return stem[:40] or "source"
