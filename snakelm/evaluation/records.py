"""The files that evaluation writes and others read: evaluation.json, baseline.json, tokens.json,
seeds.json; loss.json is in `loss_record`.

One class for each mapping in them and one reader for each file. Who draws or sums up these files
imports this module alone, which needs neither torch nor scipy. Where a key of a file is not the
word we would choose today, the attribute has the better name and the key is its alias.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from pydantic import Field

from ..json_files import read_json
from ..json_record import JsonRecord

__all__ = [
    "FEW_BYTES_MORE",
    "NO_INTERVAL",
    "STAGES",
    "WITH_PREFERENCES",
    "BaselineRecord",
    "ByStage",
    "ChoiceAnswer",
    "CompressorRates",
    "EvaluationRecord",
    "GreedyAnswer",
    "HeldOutLoss",
    "HeldOutText",
    "Interval",
    "MeasuredDocuments",
    "MeasuredText",
    "ModelScores",
    "OverSeeds",
    "Rates",
    "SeedRun",
    "SeedsRecord",
    "SkippedRun",
    "SkippedTask",
    "SourceTokens",
    "Stage",
    "TaskResult",
    "TextTokens",
    "TokenCurve",
    "TokenizedText",
    "TokenizerRecord",
    "read_baseline",
    "read_evaluation",
    "read_tokenizer_statistics",
]

T = TypeVar("T")
Stage = Literal["base", "tuned"]  # the pretrained model, and the last that was tuned from it
WITH_PREFERENCES = "preference_model.pt"  # the last where preferences came after the tuning
NO_INTERVAL = "one document: no interval"  # of two and more there is one
STAGES: tuple[Stage, ...] = ("base", "tuned")


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its 95% confidence interval; both None where it is unknown."""

    value: float
    low: float | None
    high: float | None

    def bounds(self, style: str = ".3f", between: str = " to ") -> str:
        """`1.492 to 1.542`, or why there are none."""
        if self.low is None or self.high is None:
            return NO_INTERVAL
        return f"{self.low:{style}}{between}{self.high:{style}}"

    def in_words(self, style: str = ".3f") -> str:
        """`1.518 (1.492 to 1.542)`."""
        return f"{self.value:{style}} ({self.bounds(style)})"


class ByStage(JsonRecord, Generic[T]):
    """Something of each model of a run; `tuned` is missing where nothing was tuned."""

    base: T
    tuned: T | None = None

    def of(self, stage: Stage) -> T | None:
        """That of ``stage``."""
        return self.base if stage == "base" else self.tuned


FEW_BYTES_MORE = 0.02  # than characters: bits per byte and per character say the same


class HeldOutText(JsonRecord):
    """How much held-out text there is. A byte is a letter of English, and half of one or less of
    other scripts: what of two scripts is set side by side is given by character, too.
    """

    documents: int
    clean_documents: int  # without copies in the training text
    tokens: int
    bytes: int
    characters: int | None = None
    clean_bytes: int | None = None
    clean_characters: int | None = None

    def bytes_per_character(self, clean: bool = False) -> float | None:
        """Of all documents, or of the clean ones; None where nobody counted them."""
        size, count = self.bytes, self.characters
        if clean:
            size, count = self.clean_bytes or 0, self.clean_characters
        return size / count if count else None


class HeldOutLoss(JsonRecord):
    """A model's loss: text in bits per byte, answers in nats per token."""

    all: Interval
    clean: Interval | None
    answers: Interval | None


# evaluation.json and evaluation_items.jsonl


class ChoiceAnswer(JsonRecord):
    """An item with choices, and which of them a model finds likeliest."""

    question: str
    choices: list[str]
    gold: int
    loglikelihood: list[float]
    predicted: int = Field(validation_alias="said", serialization_alias="said")
    acc: bool
    acc_norm: bool
    cut: bool  # too long for the model: its beginning was cut off


class GreedyAnswer(JsonRecord):
    """An item with accepted answers, and what a model answers at temperature 0."""

    question: str
    answers: list[str]
    answer: str = Field(validation_alias="said", serialization_alias="said")
    exact: bool
    loose: bool
    cut: bool
    out_of_reach: bool = False  # no accepted answer is as short as what a model may say


class ModelScores(JsonRecord):
    """A model's scores on a task: acc and acc_norm, or exact and loose."""

    acc: Interval | None = None
    acc_norm: Interval | None = None
    exact: Interval | None = None
    loose: Interval | None = None
    form: Literal["conversation", "text"] = Field(validation_alias="as", serialization_alias="as")
    cut: int
    out_of_reach: int = 0  # of greedy items: those that no answer can be right for
    examples: list[ChoiceAnswer | GreedyAnswer]

    def scores(self) -> dict[str, Interval]:
        """Those that there are, by name."""
        named = {name: getattr(self, name) for name in ("acc", "acc_norm", "exact", "loose")}
        return {name: score for name, score in named.items() if score is not None}


class TaskResult(ByStage[ModelScores]):
    """A task that was run."""

    kind: str
    items: int
    shots: int
    builtin: str | None
    chance: float | None = None  # what guessing scores; of tasks with choices


class SkippedTask(JsonRecord):
    """A task that this run can't be given."""

    kind: str
    reason: str = Field(validation_alias="left_out", serialization_alias="left_out")


class EvaluationRecord(JsonRecord):
    """evaluation.json"""

    text: HeldOutText | None = None
    held_out: dict[Stage, HeldOutLoss]
    preferred: bool = False  # the tuned model has learned preferences, too
    tasks: dict[str, TaskResult | SkippedTask]

    def results(self) -> dict[str, TaskResult]:
        """The tasks that were run, by name."""
        return {name: task for name, task in self.tasks.items() if isinstance(task, TaskResult)}

    def skipped(self) -> dict[str, SkippedTask]:
        """The others."""
        return {name: task for name, task in self.tasks.items() if isinstance(task, SkippedTask)}


# baseline.json


class Rates(JsonRecord):
    """Bits per byte of the held-out text, and of its clean documents where there are any."""

    bpb: float
    bpb_clean: float | None


class CompressorRates(Rates):
    """Those of the compressor, and how much text it read first."""

    primed_bytes: int
    primed_documents: int
    training_bytes: int


class MeasuredText(JsonRecord):
    """Bytes of the held-out documents that were measured."""

    total: int = Field(validation_alias="whole", serialization_alias="whole")
    clean: int


class MeasuredDocuments(JsonRecord):
    """How many they are, and how many val.bin has."""

    total: int = Field(validation_alias="whole", serialization_alias="whole")
    clean: int
    val: int


class BaselineRecord(JsonRecord):
    """baseline.json"""

    ppmd: CompressorRates
    xz: Rates
    unigram: Rates
    bytes: MeasuredText
    docs: MeasuredDocuments


# tokens.json


class TextTokens(JsonRecord):
    """Some text and its tokens."""

    name: str
    bytes: int
    tokens: int


class SourceTokens(TextTokens):
    """The measured documents of a source."""

    documents: int
    characters: int
    words: int  # between white space


class TokenizedText(JsonRecord):
    """The beginning of a document, a piece for each token."""

    source: str
    pieces: list[str]


class TokenCurve(JsonRecord):
    """How often the token of a rank occurs, the commonest first."""

    rank: list[int]
    count: list[int]


class TokenizerRecord(JsonRecord):
    """tokens.json"""

    vocabulary: int
    special: list[str]
    pattern: str
    bins: list[TextTokens]  # all training text, all held-out text
    sources: list[SourceTokens]  # the largest first
    examples: list[TokenizedText]
    curve: TokenCurve
    text_tokens: int  # tokens that stand for text
    never: int  # of these, absent from the training text
    rare: int
    rare_below: int
    half: int  # the commonest tokens that make half of the text
    most: list[tuple[str, int]]
    longest: list[tuple[str, int]]
    unseen: list[str]


# seeds.json


class SeedRun(JsonRecord):
    """A run that counts."""

    results: str
    seed: int


class SkippedRun(JsonRecord):
    """A run that doesn't, and why."""

    results: str
    why: str


class OverSeeds(JsonRecord):
    """A measured value in each run; the standard deviation needs two."""

    values: list[float]
    mean: float
    sd: float | None


class SeedsRecord(JsonRecord):
    """seeds.json"""

    runs: list[SeedRun]
    left_out: list[SkippedRun]
    measures: dict[str, OverSeeds]


def read_evaluation(path: str | Path) -> EvaluationRecord:
    """evaluation.json, UserError when it is missing, damaged or of another version."""
    return read_json(path, EvaluationRecord, remedy="delete it and run evaluate again")


def read_baseline(path: str | Path) -> BaselineRecord:
    """baseline.json, likewise."""
    return read_json(path, BaselineRecord, remedy="delete it and run baseline again")


def read_tokenizer_statistics(path: str | Path) -> TokenizerRecord:
    """tokens.json, likewise."""
    return read_json(path, TokenizerRecord, remedy="delete it and run measure_tokenizer again")
