"""An instruction tuning as its files tell it, for its chapter of the report; what isn't there is
left out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..config import Config, SftSource
from ..data.packs import Packs
from ..tokenizer import Tokenizer
from ..training.metrics import Sample, read_metrics, read_samples
from .manifests import PacksManifest, made_by, read_manifests
from .trainings import Training, held_out_apart, tuning

__all__ = ["Answers", "Span", "TuningRecord", "answers", "conversations", "read_tuning", "turns"]

MARK = re.compile(r"<\|(endoftext|system|user|assistant|end)\|>")
SPEAKERS = ("system", "user", "assistant")

Span = tuple[str, bool]  # a piece of a conversation, and whether it is learned


@dataclass(frozen=True)
class TuningRecord:
    """Metrics, answers to held-out questions, the manifest of train_sft_packed.bin, and the sources
    of the conversations.
    """

    training: Training
    samples: list[Sample] = field(default_factory=list)
    packs: PacksManifest = field(default_factory=PacksManifest)
    sources: Sequence[SftSource] = ()  # as configured, with their licences


@dataclass(frozen=True)
class Answers:
    """A held-out question, the answer its conversation has, and the model's at each evaluation:
    (step, text).
    """

    prompt: str
    expected: str
    given: tuple[tuple[int, str], ...]


def read_tuning(
    config: Config,
    metrics: str | Path,
    samples: str | Path | None = None,
    log: str | Path | None = None,
    artefacts: Iterable[str | Path] = (),
) -> TuningRecord:
    """Reads all of it; the manifests of packs and model are looked for beside the ``artefacts``."""
    manifests = list(read_manifests(artefacts).values())
    made = made_by(manifests, "prepare_sft_data", PacksManifest)
    packs = made[0] if made else PacksManifest()
    held_out = packs.val.tokens if packs.val else 0
    training = tuning(read_metrics(metrics), config.sft.clip, log)
    return TuningRecord(
        held_out_apart(training, manifests, "train_sft", held_out),
        read_samples(samples) if samples and Path(samples).is_file() else [],
        packs,
        config.sft_data.sources,
    )


def answers(samples: Iterable[Sample]) -> list[Answers]:
    """Samples by question, in the order in which the questions first appear."""
    by_prompt: dict[str, list[Sample]] = {}
    for sample in samples:
        by_prompt.setdefault(sample.prompt, []).append(sample)

    return [
        Answers(prompt, some[-1].expected, tuple((s.step, s.text) for s in some))
        for prompt, some in by_prompt.items()
    ]


def turns(prompt: str) -> list[tuple[str, str]]:
    """`<|user|>What?<|end|><|assistant|>` → [("user", "What?")]: who says what, without the turn
    that is to be answered.

    A text without such marks is one turn with no speaker.
    """
    parts = MARK.split(prompt)
    marked = [(mark, text.strip()) for mark, text in zip(parts[1::2], parts[2::2], strict=True)]
    spoken = [(speaker, text) for speaker, text in marked if speaker in SPEAKERS and text]
    return spoken or [("", prompt)]


def conversations(packs: Packs, tokenizer: Tokenizer, count: int = 4) -> list[Sequence[Span]]:
    """Some conversations of the packs, evenly spaced, each as spans of text in order."""
    documents = packs.meta.documents
    if not documents:
        return []

    chosen = np.unique(np.linspace(0, documents - 1, min(count, documents)).astype(np.int64))
    return [_spans(packs, tokenizer, int(i)) for i in chosen]


def _spans(packs: Packs, tokenizer: Tokenizer, document: int) -> list[Span]:
    first, last = (int(at) for at in packs.document_offsets[document : document + 2])
    ids = packs.bin.read(first, last)  # [tokens]
    learned = packs.learned(first, last)  # [tokens], bool

    # A span ends where the mask changes; each is decoded by itself, as no token lies across.
    cuts = [0, *(np.flatnonzero(np.diff(learned)) + 1).tolist(), ids.size]
    return [(tokenizer.decode(ids[a:b]), bool(learned[a])) for a, b in pairwise(cuts)]
