"""What of a run its last model is made of, by the run's manifests: all of it, unless tuning started
from another model than the one that was pretrained here (sft.base).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..publishing import public_path
from .manifests import FileRecord, StartedFrom, StepManifest, TrainManifest, made_by

__all__ = ["of_the_model", "tuned_from_another"]

WEIGHTS = (".pt", ".safetensors")
TUNING = {"prepare_sft_data", "train_sft", "prepare_preferences", "train_preferences"}


def tuned_from_another(steps: Sequence[StepManifest]) -> StartedFrom | None:
    """The model that tuning started from (sft.base), where that isn't the one that this run has
    pretrained.
    """
    for tuned in made_by(steps, "train_sft", TrainManifest):
        name = _section(tuned, "sft").get("base")
        pretrained = {one.artefact.sha256 for one in made_by(steps, "train", TrainManifest)}
        if not name or pretrained & {one.sha256 for one in tuned.inputs}:
            continue
        weights = next(iter(tuned.inputs), FileRecord())
        whole = weights.path.endswith(WEIGHTS)  # else they are in several files
        return StartedFrom(name=public_path(str(name)), sha256=weights.sha256 if whole else "")
    return None


def of_the_model(steps: Sequence[StepManifest]) -> list[StepManifest]:
    """Those of ``steps`` that the run's last model is made of: of one that was tuned from another
    than the run's own not the pretraining, nor its text where none was mixed in.
    """
    if tuned_from_another(steps) is None:
        return list(steps)
    tuned = made_by(steps, "train_sft", TrainManifest)[0]
    if _section(tuned, "sft").get("mix"):
        return [one for one in steps if one.step != "train"]
    return [one for one in steps if one.step in TUNING]


def _section(manifest: StepManifest, name: str) -> Mapping[str, Any]:
    section = manifest.config.get(name)
    return section if isinstance(section, Mapping) else {}
