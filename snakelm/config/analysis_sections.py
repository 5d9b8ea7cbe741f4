"""The sections that only measure a run and show it: no key here touches a document or a weight."""

from typing import Literal

from .section import MANY, Section, key

__all__ = ["Cost", "Embeddings", "Evaluate", "Publish", "SourceAblation", "Task", "Tsne"]


class Evaluate(Section):
    """Bits per byte, and what it is compared with."""

    clean_share: float = key(
        0.1,
        "held-out documents with less than this share of copied text count as clean",
        gt=0,
        le=1,
    )
    span: int = key(
        16,
        "length of a span that counts as copied when training text has it too",
        unit="tokens",
        ge=2,
        le=1024,
    )
    compressor_mb: float = key(
        32.0,
        "most text that the compressor reads, of training and held-out text each; documents at "
        "even distances",
        unit="MB",
        gt=0,
    )


class Task(Section):
    """One test for the finished model: exactly one of path and builtin."""

    name: str | None = key(None, "name in tables; made from the path when left out")
    path: str | list[str] | None = key(
        None,
        "parquet, JSONL or CSV files of question, choices and answer (docs/TRAINING_PROCESS.md), "
        "globs allowed",
    )
    builtin: Literal["continuation", "answers"] | None = key(
        None,
        "continuation (kind: choice): which of four passages continues a held-out document; "
        "answers (kind: greedy): held-out questions of the conversations that the model was tuned "
        "on",
    )
    kind: Literal["choice", "greedy"] = key(
        "choice",
        "choice: the likeliest of an item's choices; greedy: the model's answer at temperature 0, "
        "compared with the item's",
    )
    gold: Literal["auto", "text", "label", "from_0", "from_1"] = key(
        "auto",
        "what an answer of kind choice is: a choice's text, its label or letter, its number from 0 "
        "or from 1; auto goes by the columns and by all rows, and refuses what can be read twice",
    )
    limit: int | None = key(None, "most items to take, chosen by hash", unit="items", ge=1, le=MANY)
    shots: int = key(0, "solved items in front of each question", unit="items", ge=0, le=64)


class Embeddings(Section):
    """A vector for each of some documents."""

    by: Literal["model", "sentence"] = key(
        "model",
        "model: the trained model's own states, averaged over a document; sentence: the sentence "
        "model that the filter starts from (classifier.base; requirements-filter.txt)",
    )
    documents: int | None = key(
        3000,
        "documents on the map, chosen by hash; null for all",
        unit="documents",
        ge=1,
        le=100_000_000,
    )


class Tsne(Section):
    """The map that is drawn of the vectors; a section of its own, because vectors are expensive and
    the map is not.
    """

    perplexity: float = key(30.0, "neighbours that t-SNE weighs for each document", gt=0, le=10_000)
    method: Literal["auto", "scikit-learn", "opentsne"] = key(
        "auto",
        "library that computes t-SNE: scikit-learn, or openTSNE, which auto takes from 20,000 "
        "documents on",
    )


class Publish(Section):
    """What the exported model says of itself, and how model.gguf stores its weights."""

    name: str = key("snakelm", "name of the model in its card and in model.gguf")
    licence: str | None = key(
        None, "licence of the weights, an SPDX identifier such as apache-2.0 or cc-by-4.0"
    )
    languages: list[str] = key([], "languages of the text, as ISO 639 codes: en, it, …")
    datasets: list[str] = key([], "data sets it was trained on, as hubs name them: owner/name")
    gguf: Literal["f32", "f16", "q8_0"] = key(
        "f32",
        "weights in model.gguf: f32 answers as ours do; f16 is half as large, q8_0 (8 bits and a "
        "scale for 32 weights) about a quarter",
    )


class SourceAblation(Section):
    """Which source helped? Proxy models on mixtures of the same train.bin: all sources, each left
    out, and random mixtures (`snakemake source_ablation`).
    """

    seeds: list[int] = key(
        [],
        "train.seed of the proxies, one of each mixture for each seed: [1, 2, 3]; empty for no "
        "study, one seed for no intervals",
    )
    proxy: dict[str, float | int | bool | str | None] = key(
        {},
        "keys of model and train in which the proxies differ from the run, such as "
        "{model.layers: 1, train.steps: 300}; empty for models as large and as long as the run's",
    )
    judge_by: str | list[str] = key(
        "all",
        "held-out text that decides: all of it, or a list of the sources that count; a source that "
        "is left out and judged by helps by construction",
    )
    mixtures: int = key(
        0,
        "random mixtures beside those, one proxy each, seeds in turn, from which weights are "
        "fitted; 0, or at least twice as many as there are sources",
        unit="mixtures",
        ge=0,
        le=512,
    )


class Cost(Section):
    """What energy and money are estimated from; every figure made of it is marked as an
    estimate.
    """

    watts_per_core: float = key(10.0, "power of a busy CPU core", unit="watts", ge=0, le=1000)
    watts_per_gpu: float | None = key(
        None,
        "power of a busy GPU; null for the limit that it reports itself",
        unit="watts",
        gt=0,
        le=5000,
    )
    price_per_kwh: float = key(0.30, "price of a kilowatt-hour", ge=0, le=1000)
    price_per_hour: float | None = key(
        None, "price of the machine per hour, where it is rented", ge=0
    )
    currency: str = key("EUR", "what prices are in")
