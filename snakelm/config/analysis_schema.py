"""The sections of the configuration that only look at a run: no key here touches a document or a
weight.
"""

from dataclasses import dataclass

from .checks import key

__all__ = ["Cost", "Embeddings", "Task", "Tsne"]


@dataclass(frozen=True)
class Embeddings:
    """A vector for each of some documents."""

    by: str = key(
        "model",
        "model: the trained model's own states, averaged over a document; sentence: the sentence model that the "
        "filter starts from (classifier.base; requirements-filter.txt)",
        choices=("model", "sentence"),
    )
    documents: int | None = key(
        3000,
        "documents on the map, chosen by hash; none for all",
        unit="documents",
        low=1,
        high=100_000_000,
    )


@dataclass(frozen=True)
class Tsne:
    """The map that is drawn of the vectors; apart from them, because they are dear and the map is
    not.
    """

    perplexity: float = key(
        30.0, "neighbours that t-SNE weighs for each document", above=0, high=10_000
    )
    method: str = key(
        "auto",
        "which library does t-SNE: scikit-learn, or openTSNE, which auto takes from 20,000 documents on",
        choices=("auto", "scikit-learn", "opentsne"),
    )


@dataclass(frozen=True)
class Task:
    """One test for the finished model: exactly one of path and builtin."""

    name: str | None = key(None, "name in tables; made from the path when left out")
    path: str | list[str] | None = key(
        None,
        "parquet or JSONL files of question, choices and answer (docs/TRAINING_PROCESS.md), globs allowed",
    )
    builtin: str | None = key(
        None,
        "continuation (kind: choice): which of four passages goes on a held-out document; answers (kind: greedy): "
        "held-out questions of the conversations that the model was tuned on",
        choices=("continuation", "answers"),
    )
    kind: str = key(
        "choice",
        "choice: the likeliest of an item's choices; greedy: what the model says at temperature 0, compared with the "
        "answer",
        choices=("choice", "greedy"),
    )
    limit: int | None = key(None, "at most so many items, chosen by hash", unit="items", low=1)
    shots: int = key(
        0, "solved items that stand before each question", unit="items", low=0, high=64
    )


@dataclass(frozen=True)
class Cost:
    """What energy and money are estimated from; every figure made of it says that it is an
    estimate.
    """

    watts_per_core: float = key(10.0, "power of a busy CPU core", unit="watts", low=0, high=1000)
    watts_per_gpu: float | None = key(
        None,
        "power of a busy GPU; none for the limit that it reports itself",
        unit="watts",
        above=0,
        high=5000,
    )
    price_per_kwh: float = key(0.30, "price of a kilowatt-hour", low=0, high=1000)
    price_per_hour: float | None = key(
        None, "price of the machine for an hour, where it is rented", low=0
    )
    currency: str = key("EUR", "what prices are in")
