"""What no single key can say: combinations that can't work, and what follows from other keys.

`checked` takes a config whose keys are valid one by one. It gives the same config with the names of
sources and tasks, the length of a pack, the seeds of both trainings and the text in tuning
filled in.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from ..errors import UserError
from ..expressions import Expression, is_name
from ..publishing import is_after_folder, public_url
from ..user_paths import CONTROL, home
from .analysis_sections import Task
from .data_sections import SftSource, Source
from .preference_section import PreferenceSource, check_preferences
from .schema import Config
from .section import Section
from .training_sections import MIX, Model, Train
from .unread import check_modes, check_unread

__all__ = ["check_exportable", "check_path", "check_shape", "checked"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # in file names, tables and figures
NAME_ALLOWED = "letters, digits and _.- (at most 64)"
SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{1,63}")
LANGUAGE = re.compile(r"[a-z]{2,3}")
DATASET = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
FOLDER = re.compile(r"[^-{}<>\s][^{}<>]*")  # Snakemake takes braces for wildcards, and <x> too
VARIABLE = re.compile(r"(^|/)\$(\w+|\{\w+\})(/|$)")

LEAST_VOCABULARY = 262
ROTARY = 2**27  # numbers in the tables of cosines and sines: a million positions of head_dim 128

BUILTIN_TASKS = {"continuation": "choice", "answers": "greedy"}


def checked(config: Config) -> Config:
    """The config completed; raises a UserError that names the first key that can't be."""
    _check_model(config)
    _check_regularisation(config.train)
    _check_tokens(config)
    _check_publish(config)
    for where, path in _paths(config):
        check_path(where, path)
    results = _results_folder(config.results)

    check_unread(
        config.tokenizer, config.sources, config.sft_data.sources, config.preferences.sources
    )
    check_modes(config.deduplicate, config.personal_data, config.forget)
    sources = _named_sources(config.sources)
    tasks = _named_tasks(config.tasks)

    # The length of a pack is a key of its own, so that a step that packs needn't know the model.
    _check_conversations(config)
    check_preferences(config.preferences, config.export)
    context = config.sft_data.context or config.model.context
    sft_data = config.sft_data.model_copy(update={"context": context})

    # Likewise the seeds of both trainings: theirs alone may change, and the data stays.
    train_seed = config.seed if config.train.seed is None else config.train.seed
    sft_seed = train_seed if config.sft.seed is None else config.sft.seed
    own = config.preferences
    preferences = {
        "context": own.context or config.model.context,
        "seed": train_seed if own.seed is None else own.seed,
    }
    return config.model_copy(
        update={
            "results": results,
            "compare": [home(folder).as_posix() for folder in config.compare],
            "sources": sources,
            "sft_data": sft_data,
            "preferences": own.model_copy(update=preferences),
            "tasks": tasks,
            "train": config.train.model_copy(update={"seed": train_seed}),
            "sft": config.sft.model_copy(update={"seed": sft_seed, "mix": _mix(config, results)}),
        }
    )


def _paths(config: Config) -> Iterator[tuple[str, str]]:
    """Every path of the configuration, with its key."""
    one_or_many: dict[str, str | list[str] | None] = {
        "results": config.results,
        "forget.documents": config.forget.documents,
        "forget.conversations": config.forget.conversations,
        "forget.preferences": config.forget.preferences,
        "decontaminate.files": config.decontaminate.files,
        "memorisation.documents": config.memorisation.documents,
        "memorisation.before": config.memorisation.before,
        "classifier.labels": config.classifier.labels,
        "classifier.base": config.classifier.base,
        "tokenizer.file": config.tokenizer.file,
        "sft.base": config.sft.base,
        "compare": config.compare,
    }
    lists: dict[str, Sequence[Source | SftSource | PreferenceSource | Task]] = {
        "sources": config.sources,
        "sft_data.sources": config.sft_data.sources,
        "preferences.sources": config.preferences.sources,
        "tasks": config.tasks,
    }

    for name, items in lists.items():
        one_or_many |= {f"{name}[{i}].path": item.path for i, item in enumerate(items)}
    return ((where, path) for where, paths in one_or_many.items() for path in _as_list(paths))


def check_path(where: str, path: str) -> None:
    """UserError for a path that means something else than it says."""
    if CONTROL.search(path):
        raise UserError(f"{where}: found {path!r}, allowed is no control character; rename it")
    if VARIABLE.search(path):
        raise UserError(
            f"{where}: found {path!r}, and variables are not replaced here; write the path itself, "
            "or ~ for your home folder"
        )


def _results_folder(results: str) -> str:
    """The results folder, with `~` for what it stands for."""
    folder = os.path.expanduser(results)
    if folder.startswith("~") or not FOLDER.fullmatch(folder):
        raise UserError(
            f"results: found {results!r}, allowed is a folder; no braces or angle brackets, "
            "no - or ~ in front (but for ~/, your home folder)"
        )
    return folder


def _check_publish(config: Config) -> None:
    """What stands in the head of the model card, which is YAML that hubs read."""
    for name, pattern, example in (
        ("licence", SPDX, "an SPDX identifier such as apache-2.0, mit or cc-by-4.0"),
        ("languages", LANGUAGE, "an ISO 639 code such as en, it or zh"),
        ("datasets", DATASET, "owner/name, as hubs name data sets"),
    ):
        value = getattr(config.publish, name)
        for one in _as_list(value):
            if not pattern.fullmatch(one):
                raise UserError(f"publish.{name}: found {one!r}, expected {example}")


def _check_model(config: Config) -> None:
    model, train = config.model, config.train
    check_shape(model)
    check_exportable(model)

    rows, rest = divmod(train.batch_tokens, model.context)
    if rest:
        raise UserError(
            f"train.batch_tokens: {train.batch_tokens} is no multiple of model.context "
            f"{model.context}"
            f"{', which is that of train.base; set a shorter one, or more' if train.base else ''}"
        )
    processes = train.nodes * train.processes
    if rows < max(processes, train.reproducible):
        raise UserError(
            f"train.batch_tokens: {rows} rows of model.context {model.context}, fewer than "
            f"{processes} processes (train.nodes × train.processes) or train.reproducible "
            f"{train.reproducible}; raise train.batch_tokens or lower model.context"
        )
    if train.reproducible and processes > train.reproducible:
        raise UserError(
            f"train.reproducible: {train.reproducible} parts for {processes} processes "
            "(train.nodes × train.processes); make it as many or more"
        )
    if train.sharding == "fsdp" and train.reproducible:
        raise UserError(
            "train.sharding: fsdp sums gradients in an order of its own, train.reproducible asks "
            "for a fixed one; set sharding: none or reproducible: 0"
        )
    if train.sharding == "fsdp" and (train.average or train.keep_best):
        raise UserError(
            "train.sharding: fsdp keeps neither averaged nor best weights; set sharding: none, or "
            "average: 0 and keep_best: false"
        )
    if train.sharding == "fsdp" and train.compile == "on":
        raise UserError(
            "train.sharding: fsdp isn't compiled, and train.compile is on; set compile: auto"
        )


def _check_regularisation(train: Train) -> None:
    """UserError for a schedule, an average or a best that can't be what was meant."""
    factors = train.weight_decay_schedule
    if len(factors) == 1 or any(factor < 0 for factor in factors):
        raise UserError(
            f"train.weight_decay_schedule: found {factors}, allowed are two factors or more, none "
            "below 0; leave it out for the same weight decay throughout"
        )
    if factors and not train.weight_decay:
        raise UserError(
            f"train.weight_decay_schedule: found {factors}, and train.weight_decay is 0, so it has "
            "no effect; set train.weight_decay, or leave the schedule out"
        )
    most = train.weight_decay * max(factors, default=1.0)
    if most * train.lr >= 1:
        raise UserError(
            f"train.weight_decay: {most:g} at its most, times train.lr {train.lr:g}, takes away "
            "all of a weight in one step; lower it, or its schedule"
        )

    if train.average and train.average * train.steps < 2:
        raise UserError(
            f"train.average: {train.average:g} of {train.steps} steps is a memory of less than two "
            "steps, and there is nothing to average; raise either, or set average: 0"
        )
    if train.keep_best and train.eval_every >= train.steps:
        raise UserError(
            f"train.keep_best: the run has {train.steps} steps and an evaluation every "
            f"{train.eval_every}, so no weights but the last would be compared; lower "
            "train.eval_every, or set keep_best: false"
        )


def check_shape(model: Model, where: str = "model") -> None:
    """UserError for a network that can't be built. ``where``: what the keys stand below."""
    if model.heads % model.kv_heads:
        raise UserError(
            f"{where}.kv_heads: {model.kv_heads} does not divide {where}.heads {model.heads}"
        )
    if model.head_dim % 2:
        raise UserError(f"{where}.head_dim: {model.head_dim} is odd; rotary embedding turns pairs")
    if model.context * model.head_dim > ROTARY:
        raise UserError(
            f"{where}.context: found {model.context:,}, allowed with head_dim {model.head_dim} are "
            f"{ROTARY // model.head_dim:,} positions (rotary tables of {4 * ROTARY:,} bytes)"
        )


def check_exportable(model: Model) -> None:
    """UserError for a network that no other tool loads."""
    if model.tie_embeddings and model.embedding_norm:
        raise UserError(
            "model.tie_embeddings: true and model.embedding_norm true make a model that no other "
            "tool loads; set embedding_norm: false"
        )

    if not model.qk_norm and model.width % model.heads:
        raise UserError(
            f"model.width: {model.width} is no multiple of model.heads {model.heads}, as a Llama's "
            "(qk_norm: false) must be for other tools to load it; change either, or set "
            "qk_norm: true"
        )


def _check_tokens(config: Config) -> None:
    tokenizer = config.tokenizer
    if tokenizer.kind == "base" and not config.train.base:
        raise UserError("tokenizer.kind: base is for a run with train.base; name one, or set bpe")
    if tokenizer.kind == "bpe" and tokenizer.vocab_size < LEAST_VOCABULARY:
        raise UserError(
            f"tokenizer.vocab_size: found {tokenizer.vocab_size}, allowed is at least "
            f"{LEAST_VOCABULARY}: bytes, a merge, end-of-text and chat tokens"
        )
    if tokenizer.kind == "tiktoken" and not tokenizer.file:
        raise UserError("tokenizer.file: missing; kind: tiktoken reads its ranks from a file")
    if not is_name(tokenizer.pattern):
        Expression(tokenizer.pattern)

    too_many = tokenizer.kind == "bpe" and tokenizer.vocab_size > 65_535
    if too_many and config.prepare.token_bits == "16":
        raise UserError(
            "prepare.token_bits: 16 bits hold ids up to 65,535; tokenizer.vocab_size is "
            f"{tokenizer.vocab_size}; set 32 or auto"
        )


def _named_sources(sources: Sequence[Source]) -> list[Source]:
    """The sources, each with a name of its own; raises UserError for one without documents."""
    if not sources:
        raise UserError("sources: empty; name at least one source")

    named: list[Source] = []
    for i, source in enumerate(sources):
        _check_exactly_one(f"sources[{i}]", source, ("path", "url", "builtin"))
        urls, hashes = len(_as_list(source.url)), len(_as_list(source.sha256))
        if urls != hashes:
            raise UserError(
                f"sources[{i}].sha256: found {hashes} for {urls} url; give one each, in order"
            )

        # Of an address its path, without what may be a key.
        addresses = [public_url(url).partition("?")[0] for url in _as_list(source.url)]
        name = source.name or source.builtin or _stem((_as_list(source.path) or addresses)[0])
        _check_name(f"sources[{i}].name", name)
        if any(name == other.name for other in named):
            if source.name:
                raise UserError(f"sources[{i}].name: {name!r} is taken by another source")
            name = f"{name}-{i}"
        named.append(source.model_copy(update={"name": name}))
    return named


def _mix(config: Config, results: str) -> float:
    """The share of pretraining text in tuning: of a model of the user's own nobody knows what it
    was trained on.
    """
    given, base = config.sft.mix, config.sft.base
    if given is not None:
        return given
    own = base is None or PurePosixPath(base) == PurePosixPath(results, "final_model.pt")
    return MIX if own else 0.0


def _check_conversations(config: Config) -> None:
    sources = config.sft_data.sources
    if not sources:
        raise UserError("sft_data.sources: empty; name at least one source")
    for i, source in enumerate(sources):
        _check_exactly_one(f"sft_data.sources[{i}]", source, ("path", "builtin"))


def _named_tasks(tasks: Sequence[Task]) -> list[Task]:
    """The tasks, each with a name of its own; raises UserError for one without items."""
    named: list[Task] = []
    for i, task in enumerate(tasks):
        _check_exactly_one(f"tasks[{i}]", task, ("path", "builtin"))
        name = task.name or task.builtin or _stem(_as_list(task.path)[0])
        if not task.name and is_after_folder(name, task.path):  # scores are published with it
            name = f"task-{i + 1}"
        _check_name(f"tasks[{i}].name", name)
        if any(name == other.name for other in named):
            raise UserError(f"tasks[{i}].name: {name!r} is taken by another task; give it a name")

        if task.builtin and task.kind != BUILTIN_TASKS[task.builtin]:
            raise UserError(
                f"tasks[{i}].kind: found {task.kind!r}, the built-in {task.builtin} is "
                f"{BUILTIN_TASKS[task.builtin]}"
            )
        if task.builtin and task.shots:
            raise UserError(f"tasks[{i}].shots: found {task.shots}, a built-in task takes none")
        if task.gold != "auto" and (task.builtin or task.kind != "choice"):
            raise UserError(
                f"tasks[{i}].gold: found {task.gold!r}, which is for a task of kind choice with a "
                "path; leave it out"
            )
        named.append(task.model_copy(update={"name": name}))
    return named


def _check_exactly_one(where: str, section: Section, keys: Sequence[str]) -> None:
    given = [key for key in keys if getattr(section, key)]
    if len(given) != 1:
        raise UserError(
            f"{where}: found {' and '.join(given) or 'none'} of {', '.join(keys)}; give exactly one"
        )


def _check_name(where: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(f"{where}: found {name!r}, allowed are {NAME_ALLOWED}")


def _as_list(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _stem(path: str) -> str:
    """`my/notes-*.parquet` → `my`: the last part that is no pattern, in characters that a file name
    may have.
    """
    parts = [part for part in re.split(r"[/\\]", path) if part and not re.search(r"[*?\[]", part)]
    stem = parts[-1].split(".")[0] if parts else ""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:40] or "source"
