"""What the manifests of a run say, typed: who made a file, from what, and the counts of its step.

A report is made of unfinished runs and of old ones too, so nothing here insists. Every field has a
default, which stands for a value that is missing or of another type; a table then lacks a line.
Only a seal that doesn't fit is an error, for it says that a manifest is damaged.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ValidationInfo

from ..json_files import read_json
from ..workflow.manifest import manifest_path, read_manifest, with_counts

__all__ = [
    "CheckManifest",
    "CollectManifest",
    "DeduplicateManifest",
    "FileRecord",
    "FilterManifest",
    "LanguagesManifest",
    "Package",
    "PackedPart",
    "PacksManifest",
    "PersonalDataManifest",
    "SampleManifest",
    "SplitManifest",
    "StartedFrom",
    "StepManifest",
    "Tolerant",
    "TrainManifest",
    "TrainingResult",
    "as_kind",
    "made_by",
    "read_manifests",
]


class Tolerant(BaseModel):
    """A record in which a missing or malformed value is the field's default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_default(
        cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        try:
            return handler(value)
        except ValidationError:
            field: FieldInfo = cls.model_fields[str(info.field_name)]
            return field.get_default(call_default_factory=True)


class FileRecord(Tolerant):
    """A file that a step read or wrote."""

    path: str = ""
    sha256: str = ""
    bytes: int | None = None

    @property
    def stem(self) -> str:
        """`…/sampled/docs.parquet` → `docs`, also of a path that another system wrote."""
        return self.path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".parquet")


class StepManifest(Tolerant):
    """What every manifest says; those of the steps below add what their step counted."""

    script: str = ""
    artefact: FileRecord = FileRecord()
    inputs: tuple[FileRecord, ...] = ()
    config: dict[str, Any] = {}
    seed: int | None = None
    versions: dict[str, str] = {}
    host: dict[str, str | int] = {}
    created: str = ""
    counts: dict[str, Any] = {}

    @property
    def step(self) -> str:
        """The step that made the artefact, by its script: `train` of scripts/training/train.py."""
        return Path(self.script).stem


class Package(Tolerant):
    """An installed package whose docstrings became documents."""

    package: str = ""
    version: str = ""
    licence: str | None = None
    documents: int | None = None
    characters: int | None = None


class Collection(Tolerant):
    """What a built-in source was collected from."""

    packages: tuple[Package, ...] = ()


class CollectManifest(StepManifest):
    """Of collect: a built-in source."""

    collected: Collection = Collection()


class SampleManifest(StepManifest):
    """Of sample_data: rows of one source, whose name is the artefact's; ``kept`` are those fit to
    use, ``taken`` those that were sampled.
    """

    read: int | None = None
    kept: int = 0
    taken: int = 0
    null: int = 0
    empty: int = 0
    invalid: dict[str, int] = {}  # reason → rows
    bad_files: tuple[str, ...] = ()
    duplicate_files: tuple[str, ...] = ()
    text_bytes: int | None = None

    @property
    def unfit(self) -> int:
        """Rows without a text that could be used."""
        return self.null + self.empty + sum(self.invalid.values())


class DuplicateCounts(Tolerant):
    """Documents of a source: dropped as exact and as near copies, and kept."""

    exact: int = 0
    near: int = 0
    kept: int = 0


class DeduplicateManifest(StepManifest):
    """Of deduplicate."""

    sources: dict[str, DuplicateCounts] = {}
    documents: int | None = None


class CheckCounts(Tolerant):
    """Documents of a source that a check kept, and those it dropped by reason."""

    kept: int = 0
    kept_bytes: int = 0
    dropped: dict[str, int] = {}


class CheckManifest(StepManifest):
    """Of forget, personal_data, languages, quality and decontaminate."""

    sources: dict[str, CheckCounts] = {}
    documents: int | None = None


class PersonalDataCounts(CheckCounts):
    """Of a source, by kind: places found, documents with any, and places of documentation, which
    were left alone.
    """

    found: dict[str, int] = {}
    documents_with: dict[str, int] = {}
    excepted: dict[str, int] = {}


class PersonalDataManifest(StepManifest):
    """Of personal_data."""

    action: str = ""
    sources: dict[str, PersonalDataCounts] = {}


class LanguageCounts(Tolerant):
    """Documents of a source in one language, before and after the check."""

    documents: int = 0
    bytes: int = 0
    kept: int = 0


class LanguagesManifest(CheckManifest):
    """Of languages."""

    languages: dict[str, dict[str, LanguageCounts]] = {}  # language → source → counts


class FilterCounts(Tolerant):
    """Documents of a source that reached the filter, and those it kept."""

    documents: int = 0
    kept: int = 0
    kept_bytes: int = 0
    by_setfit: int = 0  # documents that SetFit scored


class FilterManifest(StepManifest):
    """Of filter_dataset."""

    filter: str = ""  # setfit, static or cascade
    sources: dict[str, FilterCounts] = {}
    documents: int | None = None


class SplitPart(Tolerant):
    """Training or held-out text as tokens. A weight repeats documents, or leaves some out."""

    documents: int = 0
    different: int | None = None  # without those that repeat others; None of earlier versions
    tokens: int = 0
    text_bytes: int = 0


class SplitManifest(StepManifest):
    """Of prepare_data: train.bin and val.bin."""

    train: SplitPart | None = None
    val: SplitPart | None = None


class ConversationReading(Tolerant):
    """Rows of a file of conversations."""

    read: int | None = None
    null: int = 0
    empty: int = 0
    invalid: dict[str, int] = {}  # reason → rows
    unread: dict[str, int] = {}  # column or key of turns that nobody knows → rows


class ConversationCounts(Tolerant):
    """Conversations of a source, and what became of them."""

    name: str = ""
    found: int = 0
    duplicates: int = 0
    too_long: int = 0
    over_limit: int = 0
    forgotten: int = 0
    kept: int = 0
    answers_only_read: int = 0
    reading: ConversationReading = ConversationReading()

    @property
    def read(self) -> int:
        """Rows of its files, or conversations made where there are no files."""
        return self.found if self.reading.read is None else self.reading.read

    @property
    def unfit(self) -> int:
        """Rows that are no conversation."""
        return self.reading.null + self.reading.empty + sum(self.reading.invalid.values())


class PackedPart(Tolerant):
    """Conversations laid into packs; ``efficiency`` is the share that isn't padding."""

    conversations: int = 0
    different: int | None = None  # without those that a weight repeats; None of earlier versions
    packs: int = 0
    tokens: int = 0
    learned_tokens: int = 0
    efficiency: FiniteFloat | None = None


class PacksManifest(StepManifest):
    """Of prepare_sft_data: train_sft_packed.bin and val_sft_packed.bin."""

    sources: tuple[ConversationCounts, ...] = ()
    context: int | None = None
    train: PackedPart | None = None
    val: PackedPart | None = None


class StartedFrom(Tolerant):
    """The model that a training started from."""

    name: str | None = None
    sha256: str = ""


class Continued(Tolerant):
    """The run that a training went on from, and after which step."""

    fingerprint: str | None = None
    step: int = 0


class RegimeFacts(Tolerant):
    """How a training treated repeated text; ``settings``: by key of the configuration, what was on
    against learning it by heart.
    """

    name: str = "fresh"
    epochs: FiniteFloat | None = None
    settings: dict[str, Any] = {}


class TrainingResult(Tolerant):
    """What a finished training says of itself; all None for one that isn't finished."""

    parameters: int | None = None
    fingerprint: str | None = None
    processes: int = 1
    processes_from_step: dict[str, int] = {}  # of a training that went on with other numbers
    seconds: FiniteFloat | None = None  # over interruptions
    cpu_seconds: FiniteFloat | None = None  # of the process that writes
    val_loss_before: FiniteFloat | None = None
    val_loss: FiniteFloat | None = None
    val_bpb_before: FiniteFloat | None = None  # of a training that started from a model
    val_bpb: FiniteFloat | None = None
    val_bpb_clean: FiniteFloat | None = None
    continues: Continued = Continued()
    held_out_text: str | None = None  # digests of what it was measured on
    held_out_clean: str | None = None
    peak_bytes: int | None = None
    gpu_peak_bytes: int | None = None
    gpu_watts: FiniteFloat | None = None
    regime: RegimeFacts = RegimeFacts()
    weights_of_step: int | None = None  # where the best weights were kept


class TrainManifest(StepManifest):
    """Of train and train_sft: a model."""

    result: TrainingResult = TrainingResult()
    base: StartedFrom = StartedFrom()


M = TypeVar("M", bound=StepManifest)


def read_manifests(artefacts: Iterable[str | Path]) -> dict[str, StepManifest]:
    """Path of each artefact that has a manifest beside it → the manifest."""
    manifests = {}
    for artefact in artefacts:
        path = manifest_path(artefact)
        if path.is_file():
            record: dict[str, Any] = read_json(
                path, remedy="delete it and run its step again", what="a manifest"
            )
            if "seal" in record:
                record = read_manifest(artefact)  # UserError where the seal doesn't fit
            manifests[str(artefact)] = StepManifest.model_validate(with_counts(record))
    return manifests


def made_by(manifests: Iterable[StepManifest], step: str, kind: type[M]) -> Sequence[M]:
    """Those manifests that ``step`` wrote, with its counts, in the order given."""
    return [as_kind(manifest, kind) for manifest in manifests if manifest.step == step]


def as_kind(manifest: StepManifest, kind: type[M]) -> M:
    """``manifest`` with the counts of its step typed as well."""
    counts: Mapping[str, Any] = manifest.counts
    return kind.model_validate({**counts, **manifest.model_dump()})
