"""An instruction tuning as its files tell it, for its chapter of the report; what isn't there is
left out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Config
from ..data.packs import Packs
from ..tokenizer import Tokenizer
from ..training.metrics import Sample, read_metrics, read_samples
from .run_record import read_manifests
from .trainings import Training, tuning

__all__ = ["Answers", "Tuned", "answers", "conversations", "read_tuned", "turns"]

MARK = re.compile(r"<\|(endoftext|system|user|assistant|end)\|>")


@dataclass(frozen=True)
class Tuned:
    """Metrics, answers to held-out questions, and the manifests of the packs and of the model."""

    training: Training
    samples: list[Sample] = field(default_factory=list)
    packs: dict[str, Any] = field(default_factory=dict)  # manifest of train_sft_packed.bin
    model: dict[str, Any] = field(default_factory=dict)  # manifest of sft_model.pt


@dataclass(frozen=True)
class Answers:
    """A held-out question, the answer its conversation has, and the model's at each evaluation:
    (step, text).
    """

    prompt: str
    expected: str
    given: tuple[tuple[int, str], ...]


def read_tuned(
    config: Config,
    metrics: str | Path,
    samples: str | Path | None = None,
    log: str | Path | None = None,
    artefacts: Iterable[str | Path] = (),
) -> Tuned:
    """Reads all of it; ``artefacts`` are files with manifests beside them, of which packs and model
    are looked for.
    """
    found = {
        Path(str(m.get("script", ""))).stem: m
        for m in reversed(list(read_manifests(artefacts).values()))
    }
    return Tuned(
        tuning(read_metrics(metrics), config.sft.clip, log),
        read_samples(samples) if samples and Path(samples).is_file() else [],
        found.get("prepare_sft_data", {}),
        found.get("train_sft", {}),
    )


def answers(samples: Iterable[Sample]) -> list[Answers]:
    """Samples by question, in the order the questions first stand in."""
    by_prompt: dict[str, list[Sample]] = {}
    for sample in samples:
        by_prompt.setdefault(sample.prompt, []).append(sample)
    return [
        Answers(prompt, some[-1].expected, tuple((s.step, s.text) for s in some))
        for prompt, some in by_prompt.items()
    ]


def turns(prompt: str) -> list[tuple[str, str]]:
    """`<|user|>What?<|end|><|assistant|>` → [("user", "What?")]: who says what, the turn to be
    answered left out.

    A text without such marks is one turn of nobody's.
    """
    parts = MARK.split(prompt)
    said = [(mark, text.strip()) for mark, text in zip(parts[1::2], parts[2::2], strict=True)]
    found = [
        (mark, text) for mark, text in said if mark in ("system", "user", "assistant") and text
    ]
    return found or [("", prompt)]


def conversations(
    packs: Packs, tokenizer: Tokenizer, count: int = 4
) -> list[list[tuple[str, bool]]]:
    """Some conversations, at even distances, as spans of text in order, each with whether it is
    learned.
    """
    documents = packs.meta.documents
    taken = (
        np.unique(np.linspace(0, documents - 1, min(count, documents)).astype(np.int64))
        if documents
        else []
    )
    found = []
    for i in taken:
        first, last = (int(at) for at in packs.document_offsets[i : i + 2])
        ids, mask = packs.bin.read(first, last), packs.learned(first, last)
        cuts = [0, *(np.flatnonzero(np.diff(mask)) + 1).tolist(), ids.size]
        found.append([(tokenizer.decode(ids[a:b]), bool(mask[a])) for a, b in pairwise(cuts)])
    return found
