"""Runs that differ in nothing but their seed, and what their numbers scatter by.

One run's interval says how far its number may be from what endless test text would give. It does
not say how far another run of the same settings would end from this one; only other seeds do. A
seed decides everything that chance has a hand in: which documents are held out, the weights, the
order of batches.

Whether two runs differ in their seed alone is read from their manifests: settings (but for what
changes no result), code, and the hashes of a person's own files.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config import as_mapping, from_mapping
from ..errors import UserError
from ..workflow.manifest import manifest_path, read_manifest
from .intervals import mean_and_deviation

__all__ = ["difference_but_seed", "scatter"]

MADE = (
    "data/deduplicated/documents.parquet",
    "tokenizer/meta.json",
    "data/processed/train.bin",
    "data/processed/train_sft_packed.bin",
    "final_model.pt",
    "sft_model.pt",
)
TABLE = "tables/evaluation.json"


def scatter(ours: str | Path, others: Iterable[str | Path]) -> dict[str, Any]:
    """Mean and standard deviation of every number over ``ours`` and those of ``others`` that differ
    by seed alone.

    `left_out` says of each of the rest why it isn't counted.
    """
    counted, left_out = [Path(ours)], []
    for folder in map(Path, others):
        why = difference_but_seed(counted[0], folder)
        if why is None:
            counted.append(folder)
        else:
            left_out.append({"results": folder.as_posix(), "why": why})
    runs = [{"results": folder.as_posix(), "seed": _seed(folder)} for folder in counted]
    told = [dict(_numbers(_table(folder))) for folder in counted] if len(counted) > 1 else []
    measures = {}
    for name in told[0] if told else ():
        values = [numbers[name] for numbers in told if name in numbers]
        mean, deviation = mean_and_deviation(values)
        measures[name] = {"values": values, "mean": mean, "sd": deviation}
    return {"runs": runs, "left_out": left_out, "measures": measures}


def difference_but_seed(ours: Path, theirs: Path) -> str | None:
    """What makes ``theirs`` another run than ``ours`` with another seed; None when nothing does."""
    if not (theirs / TABLE).is_file():
        return f"it has no {TABLE}; evaluate that run first, with its own configuration"
    try:
        mine, other = (
            {name: read_manifest(folder / name) for name in _made(folder)}
            for folder in (ours, theirs)
        )
    except UserError as error:
        return str(error)
    if mine.keys() != other.keys():
        return (
            f"one of the two has {', '.join(sorted(mine.keys() ^ other.keys()))}, the other has not"
        )
    for name in mine:
        if mine[name]["code"]["meaning"] != other[name]["code"]["meaning"]:
            return f"its {name} was made by another version of the code"
    if _own_files(ours) != _own_files(theirs):
        return "it was made from other files"
    key = _first_difference(_settings(mine), _settings(other))
    if key is not None:
        return f"{key} differs"
    return "it has the same seed" if _seed(ours) == _seed(theirs) else None


def _sampled(folder: Path) -> list[str]:
    """The sampled sources, by their manifests: the documents themselves may have been cleared
    away.
    """
    ending = manifest_path("x").name.removeprefix("x")
    found = folder.glob(f"data/sampled/*{ending}")
    return sorted(path.relative_to(folder).as_posix().removesuffix(ending) for path in found)


def _made(folder: Path) -> list[str]:
    return [*_sampled(folder), *(name for name in MADE if manifest_path(folder / name).is_file())]


def _seed(folder: Path) -> int:
    return int(read_manifest(folder / "final_model.pt")["seed"])


def _settings(manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All settings that the manifests speak of, without those that change no result."""
    told: dict[str, Any] = {}
    for manifest in manifests.values():
        told |= manifest["config"]
    told.pop("seed", None)
    try:
        return as_mapping(from_mapping(told), told, cosmetic=False)
    except UserError:  # of another version, which had other keys
        return told


def _own_files(folder: Path) -> list[str]:
    """Hashes of a person's own files; what was collected is left out, for a seed may have decided
    it.
    """
    inputs = [one for name in _sampled(folder) for one in read_manifest(folder / name)["inputs"]]
    return sorted(
        {one["sha256"] for one in inputs if Path(one["path"]).parts[-3:-1] != ("data", "raw")}
    )


def _first_difference(ours: Any, theirs: Any, where: str = "") -> str | None:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}, key=str):
            found = _first_difference(
                ours.get(key), theirs.get(key), f"{where}.{key}" if where else str(key)
            )
            if found:
                return found
        return None
    return None if ours == theirs else where


def _table(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / TABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{folder / TABLE}: can't be read; evaluate this run again") from None


def _numbers(table: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every measured value as (name, value): `base · held-out text`, `tuned · answers · exact`."""
    for stage, values in table.get("held_out", {}).items():
        for key, words in (
            ("all", "held-out text"),
            ("clean", "clean text"),
            ("answers", "held-out answers"),
        ):
            if values.get(key):
                yield f"{stage} · {words}", values[key]["value"]
    for name, task in table.get("tasks", {}).items():
        for stage in ("base", "tuned"):
            for key in ("acc", "acc_norm", "exact", "loose"):
                if key in task.get(stage, {}):
                    yield f"{stage} · {name} · {key}", task[stage][key]["value"]
