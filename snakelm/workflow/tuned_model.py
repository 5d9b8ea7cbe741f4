"""Which of a run's models is the one to talk with."""

from pathlib import Path

from .manifest import content_hash, manifest_path, read_manifest

__all__ = ["tuned_model"]


def tuned_model(results: Path) -> Path:
    """`preference_model.pt` of the folder where it was made from the `sft_model.pt` that is there
    now; else `sft_model.pt`, whether that is there or not.
    """
    tuned, preferring = results / "sft_model.pt", results / "preference_model.pt"
    if not preferring.is_file() or not tuned.is_file():
        return preferring if preferring.is_file() else tuned
    if not manifest_path(preferring).is_file():
        return tuned

    made_from = {one["sha256"] for one in read_manifest(preferring)["inputs"]}
    return preferring if content_hash(tuned) in made_from else tuned
