"""What other steps have put beside an exported model, and whether it is of the same one."""

from collections.abc import Iterator
from pathlib import Path

from .manifest import content_hash, manifest_path, read_manifest

__all__ = ["made_from_another"]

BESIDE = ("model.gguf", "training_content_summary.md")


def made_from_another(folder: Path, model_file: Path) -> Iterator[Path]:
    """Files in ``folder`` that by their manifests were made from another model than
    ``model_file``.
    """
    for path in (folder / name for name in BESIDE):
        if path.is_file() and manifest_path(path).is_file():
            made_from = {str(one.get("sha256")) for one in read_manifest(path)["inputs"]}
            if content_hash(model_file) not in made_from:
                yield path
