"""Learning from preferences as its files tell it, for its chapter of the report; what isn't there
is left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..config import Config
from ..training.metrics import Sample, read_metrics, read_samples
from .manifests import ConversationCounts, StepManifest, Tolerant, made_by, read_manifests
from .run_record import read_resumes
from .trainings import Training, held_out_apart

__all__ = ["PreferenceRecord", "PreferencesManifest", "read_preferences"]


class CountedPreferences(ConversationCounts):
    """Preferences of a source, and what became of them."""

    no_pair: int = 0

    @property
    def left_out(self) -> dict[str, int]:
        """Rows, pairs or answers by reason, those that occurred."""
        reasons: Mapping[str, int] = {
            "null": self.reading.null,
            "empty": self.reading.empty,
            **self.reading.invalid,
            "one side only": self.no_pair,
            "longer than the context": self.too_long,
            "duplicate": self.duplicates,
            "over limit": self.over_limit,
            "to be forgotten": self.forgotten,
        }
        return {why: count for why, count in reasons.items() if count}


class PackedPreferences(Tolerant):
    """Preferences laid into packs."""

    examples: int = 0
    wanted: int = 0
    tokens: int = 0
    learned_tokens: int = 0
    packs: int = 0
    efficiency: float = 0.0


class PreferencesManifest(StepManifest):
    """Of prepare_preferences."""

    loss: str = "dpo"
    sources: tuple[CountedPreferences, ...] = ()
    train: PackedPreferences | None = None
    val: PackedPreferences | None = None


@dataclass(frozen=True)
class PreferenceRecord:
    """Metrics, answers to held-out prompts, and the manifest of train_preferences.bin."""

    training: Training
    samples: list[Sample] = field(default_factory=list)
    data: PreferencesManifest = field(default_factory=PreferencesManifest)


def read_preferences(
    config: Config,
    metrics: str | Path,
    samples: str | Path | None = None,
    log: str | Path | None = None,
    artefacts: Iterable[str | Path] = (),
) -> PreferenceRecord:
    """Reads all of it; the manifests of packs and model are looked for beside the ``artefacts``."""
    manifests = list(read_manifests(artefacts).values())
    found = made_by(manifests, "prepare_preferences", PreferencesManifest)
    data = found[0] if found else PreferencesManifest()

    resumes = read_resumes(log) if log and Path(log).is_file() else ()
    training = Training(
        read_metrics(metrics),
        unit="of a pair or an answer",
        held_out="held-out preferences",
        clip=config.preferences.clip,
        resumes=resumes,
    )
    held_out = data.val.tokens if data.val else 0
    return PreferenceRecord(
        held_out_apart(training, manifests, "train_preferences", held_out),
        read_samples(samples) if samples and Path(samples).is_file() else [],
        data,
    )
