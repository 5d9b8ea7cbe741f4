"""A trained model to be measured: opened with the tokenizer it was trained with, on the device that
the configuration names, and how it was trained, by its manifest.

What doesn't belong together (another tokenizer, the manifest of another run, another train.bin) is
refused in one line, because the numbers would be wrong without looking wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..device import choose_threads, set_up_device
from ..errors import UserError
from ..log import Log
from ..model import Decoder, load_model
from ..model.file import ModelRecord
from ..tokenizer import Tokenizer
from ..workflow.manifest import content_hash, manifest_path, read_manifest

__all__ = [
    "PretrainingSettings",
    "device_for",
    "is_tuned_from_another",
    "open_model",
    "pretraining_of",
]

BETWEEN = "sft_model.pt"  # that a model with preferences was made from


def device_for(name: str, most_threads: int | None, log: Log) -> torch.device:
    """The device that ``name`` says, as train.device does, for measuring in fp32; torch's threads
    are set to those that are free, at most ``most_threads``.
    """
    device = set_up_device(name, "fp32", choose_threads(most_threads, None, 1, log.warn))
    log.say(f"on {device.kind}, fp32, {device.threads} thread{'s' * (device.threads > 1)}")
    return device.device


def open_model(
    path: str | Path, tokenizer: Tokenizer, device: str | torch.device = "cpu"
) -> tuple[Decoder, ModelRecord]:
    """The model, in float32 as it is exported, and its record; UserError when it was trained with
    another tokenizer.
    """
    model, record = load_model(path, device)
    trained_with = record["tokenizer"]
    if trained_with["sha256"] != tokenizer.sha256:
        raise UserError(
            f"{path}: trained with tokenizer {trained_with['sha256'][:12]}… of "
            f"{trained_with['vocab_size']:,} tokens, this one is {tokenizer.sha256[:12]}… of "
            f"{tokenizer.vocab_size:,}; name the tokenizer it was trained with, or train it again"
        )
    return model, record


@dataclass(frozen=True)
class PretrainingSettings:
    """The settings that decide which text a pretrained model has read, and when."""

    batch_tokens: int
    warmup: int  # steps
    eval_tokens: int | None  # held-out tokens of the evaluations before the last; None: all
    seed: int

    @property
    def warmup_tokens(self) -> int:
        """Tokens read while the learning rate rose."""
        return self.warmup * self.batch_tokens


def pretraining_of(
    model_file: Path, record: Mapping[str, Any], train_bin: Path
) -> PretrainingSettings:
    """How the model of ``record`` was trained, by its manifest; UserError when that is the manifest
    of another model, or ``train_bin`` isn't what it was trained on.
    """
    manifest = read_manifest(model_file)
    try:
        train = manifest["config"]["train"]
        pretraining = PretrainingSettings(
            train["batch_tokens"], train["warmup"], train.get("eval_tokens"), manifest["seed"]
        )
        # Manifests of version 1 name neither the run nor, always, the inputs.
        fingerprint = manifest["counts"].get("result", {}).get("fingerprint", record["fingerprint"])
        trained_on = [
            file["sha256"]
            for file in manifest.get("inputs", [])
            if Path(file["path"]).name == train_bin.name
        ]
    except (KeyError, TypeError, AttributeError):
        raise UserError(
            f"{model_file}: its manifest doesn't say how it was trained; train it again"
        ) from None

    if fingerprint != record["fingerprint"]:
        raise UserError(
            f"{model_file}: of run {record['fingerprint']}, its manifest of run {fingerprint}; one "
            "of the two was put there from elsewhere: train it again, or bring both"
        )
    if trained_on and content_hash(train_bin) not in trained_on:
        raise UserError(
            f"{model_file}: trained on another {train_bin.name} than this one ({train_bin}); bring "
            "the one it was trained on, or train it again"
        )
    return pretraining


def is_tuned_from_another(tuned: Path, base: Path) -> bool:
    """Whether the manifest of ``tuned`` says that it began with another model than ``base``
    (sft.base): then the difference between the two is not what tuning did.
    """
    between = tuned.with_name(BETWEEN)
    if tuned != between and between.is_file() and content_hash(between) in _read_by(tuned):
        tuned = between
    read = _read_by(tuned)
    return bool(read) and content_hash(base) not in read


def _read_by(model_file: Path) -> set[str]:
    """SHA-256 of what a model was made from; none where there is no manifest."""
    if not manifest_path(model_file).is_file():
        return set()
    return {str(file.get("sha256")) for file in read_manifest(model_file).get("inputs", [])}
