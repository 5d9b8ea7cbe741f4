"""seeds.json: runs that differ in nothing but their seed, and what their numbers scatter by.

One run's interval says how far its number may be from what endless test text would give. It does
not say how far another training of the same settings would end from this one; only other seeds do.
`train.seed` is theirs: first weights, the order of the text. The top-level `seed` also decides
which documents are held out and what the tokenizer learns from; numbers on other text are never
averaged with ours.

Whether two runs differ in the seeds of training alone is read from their manifests: settings (but
for those that change no result), code, the hashes of the user's own files and of what each model
was trained on, and the digest of the held-out documents.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config import as_mapping, from_mapping
from ..data.held_out import HeldOut, held_out_of
from ..errors import UserError
from ..workflow.manifest import manifest_path, read_manifest
from .records import (
    STAGES,
    EvaluationRecord,
    OverSeeds,
    SeedRun,
    SeedsRecord,
    SkippedRun,
    read_evaluation,
)

__all__ = ["TABLE", "difference_but_seed", "mean_and_deviation", "scatter"]

ARTEFACTS = (
    "data/deduplicated/documents.parquet",
    "tokenizer/meta.json",
    "data/processed/train.bin",
    "data/processed/train_sft_packed.bin",
    "data/processed/train_preferences.bin",
    "final_model.pt",
    "sft_model.pt",
    "preference_model.pt",
)
# What each model learned from. Settings don't say all of it: checks leave out documents, and a file
# of conversations may have changed under its name.
LEARNED = {
    "final_model.pt": "train.bin",
    "sft_model.pt": "train_sft_packed.bin",
    "preference_model.pt": "train_preferences.bin",
}
SEEDED = {"train", "sft", "preferences"}  # sections with a seed of training
TABLE = "tables/evaluation.json"
ADVICE = "to measure what chance does to training, vary train.seed and leave seed as it is"


def scatter(own_folder: str | Path, others: Iterable[str | Path]) -> SeedsRecord:
    """Mean and standard deviation of every number over the run in ``own_folder`` and those of
    ``others`` that differ from it in the seeds of training alone; why each of the rest doesn't
    count.
    """
    folders, left_out = [Path(own_folder)], []
    for folder in map(Path, others):
        why = difference_but_seed(folders[0], folder) or _taken(folder, folders)
        if why is None:
            folders.append(folder)
        else:
            left_out.append(SkippedRun(results=folder.as_posix(), why=why))

    runs = [SeedRun(results=folder.as_posix(), seed=_seed(folder)) for folder in folders]
    measures = _measures(folders) if len(folders) > 1 else {}
    return SeedsRecord(runs=runs, left_out=left_out, measures=measures)


def _taken(folder: Path, others: list[Path]) -> str | None:
    """Why a run can't count beside the ``others``: one of them has its seed."""
    same = next((other for other in others if _seed(other) == _seed(folder)), None)
    return None if same is None else f"it has the same train.seed as {same.as_posix()}"


def _measures(folders: list[Path]) -> dict[str, OverSeeds]:
    """Of everything that the first run measured."""
    runs = [dict(_numbers(read_evaluation(folder / TABLE))) for folder in folders]
    measures = {}
    for name in runs[0]:
        values = [run[name] for run in runs if name in run]
        mean, deviation = mean_and_deviation(values)
        measures[name] = OverSeeds(values=values, mean=mean, sd=deviation)
    return measures


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; the latter None for fewer than two values."""
    numbers = np.asarray(values, np.float64)
    return float(numbers.mean()), float(numbers.std(ddof=1)) if numbers.size > 1 else None


def difference_but_seed(ours: Path, theirs: Path) -> str | None:
    """What makes ``theirs`` another run than ``ours`` with another seed of training; None when
    nothing does.
    """
    if not (theirs / TABLE).is_file():
        return f"it has no {TABLE}; evaluate that run first, with its own configuration"
    try:
        own_made, their_made = _manifests(ours), _manifests(theirs)
    except UserError as error:
        return str(error)

    if own_made.keys() != their_made.keys():
        names = ", ".join(sorted(own_made.keys() ^ their_made.keys()))
        return f"one of the two has {names}, the other has not"
    for name in own_made:
        if own_made[name]["code"]["meaning"] != their_made[name]["code"]["meaning"]:
            return f"its {name} was made by another version of the code"
    if _own_files(ours) != _own_files(theirs):
        return "it was made from other files"

    key = _first_difference(_settings(own_made), _settings(their_made))
    if key is not None:
        return f"{key} differs"
    return _other_text(own_made["final_model.pt"], their_made["final_model.pt"]) or (
        _learned_otherwise(own_made, their_made)
    )


def _other_text(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """What of the held-out text or the tokenizer differs between two models, by their manifests."""
    own, other = _held_out(ours), _held_out(theirs)
    if not own.same_text(other):
        known = (own.text or own.file) and (other.text or other.file)
        what = "it was measured on other held-out text" if known else "nobody knows on what text"
        return f"{what}; {ADVICE}"
    if not own.same_tokens(other):
        return f"it has another tokenizer; {ADVICE}"
    return None


def _learned_otherwise(
    ours: Mapping[str, Mapping[str, Any]], theirs: Mapping[str, Mapping[str, Any]]
) -> str | None:
    """Which model was trained on something else, as far as both manifests say on what."""
    for model, read in LEARNED.items():
        own, other = (_inputs(made.get(model, {})).get(read) for made in (ours, theirs))
        if own and other and own != other:
            return f"its {model} was trained on another {read}; {ADVICE}"
    return None


def _inputs(manifest: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of each file that was read, by its name."""
    return {Path(file["path"]).name: file["sha256"] for file in manifest.get("inputs", [])}


def _held_out(manifest: Mapping[str, Any]) -> HeldOut:
    return held_out_of(manifest["counts"].get("result", {}), _inputs(manifest))


def _manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifests of a run's artefacts, as far as there are any."""
    artefacts = (name for name in ARTEFACTS if manifest_path(folder / name).is_file())
    return {name: read_manifest(folder / name) for name in (*_sampled(folder), *artefacts)}


def _sampled(folder: Path) -> list[str]:
    """The sampled sources, by their manifests: the documents themselves may have been cleared
    away.
    """
    ending = manifest_path("x").name.removeprefix("x")
    paths = folder.glob(f"data/sampled/*{ending}")
    return sorted(path.relative_to(folder).as_posix().removesuffix(ending) for path in paths)


def _seed(folder: Path) -> int:
    return int(read_manifest(folder / "final_model.pt")["seed"])


def _settings(manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All settings that the manifests hold, without those that change no result."""
    settings: dict[str, Any] = {}
    for manifest in manifests.values():
        for name, value in manifest["config"].items():
            known = settings.get(name)  # tuning, too, writes down some keys of train
            if isinstance(known, dict) and isinstance(value, dict):
                settings[name] = {**known, **value}
            else:
                settings[name] = value

    settings.pop("seed", None)  # the digest of the held-out text says whether it matters
    for section in SEEDED & settings.keys():
        settings[section].pop("seed", None)
    try:
        return as_mapping(from_mapping(settings), settings, cosmetic=False)
    except UserError:  # of another version, which had other keys
        return settings


def _own_files(folder: Path) -> list[str]:
    """Hashes of the user's own files. What was collected is left out, for a seed may have decided
    it.
    """
    inputs = [file for name in _sampled(folder) for file in read_manifest(folder / name)["inputs"]]
    own = [file for file in inputs if Path(file["path"]).parts[-3:-1] != ("data", "raw")]
    return sorted({file["sha256"] for file in own})


def _first_difference(ours: object, theirs: object, where: str = "") -> str | None:
    """The dotted name of the first setting that differs."""
    if not (isinstance(ours, Mapping) and isinstance(theirs, Mapping)):
        return None if ours == theirs else where
    for key in sorted({*ours, *theirs}, key=str):
        name = f"{where}.{key}" if where else str(key)
        difference = _first_difference(ours.get(key), theirs.get(key), name)
        if difference is not None:
            return difference
    return None


def _numbers(evaluation: EvaluationRecord) -> Iterator[tuple[str, float]]:
    """Every measured value as (name, value): `base · held-out text`, `tuned · answers · exact`."""
    for stage, loss in evaluation.held_out.items():
        for interval, words in (
            (loss.all, "held-out text"),
            (loss.clean, "clean text"),
            (loss.answers, "held-out answers"),
        ):
            if interval is not None:
                yield f"{stage} · {words}", interval.value

    for name, task in evaluation.results().items():
        for stage in STAGES:
            scores = task.of(stage)
            for key, score in scores.scores().items() if scores else ():
                yield f"{stage} · {name} · {key}", score.value
