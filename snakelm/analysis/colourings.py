"""What the map of documents can be coloured by: numbers, and where the documents come from.

The figures and the page take both from here, so they show the same colours under the same names.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.embeddings.map import DocumentMap

__all__ = ["COLOURINGS", "Colouring", "by_frequency", "colourings", "origins"]


@dataclass(frozen=True)
class Colouring:
    """A column of numbers that colours the map."""

    column: str
    label: str
    number_format: str  # of a value in a legend
    logarithmic: bool = False  # values span orders of magnitude


COLOURINGS = (
    Colouring("loss", "bits per byte", ".2f"),
    Colouring("tokens", "length in tokens", ",.0f", logarithmic=True),
    Colouring("score", "filter score", ".2f"),
)


def colourings(documents: DocumentMap) -> list[Colouring]:
    """Those that the map has numbers for."""
    return [c for c in COLOURINGS if np.isfinite(documents.numbers(c.column)).any()]


def origins(documents: DocumentMap) -> tuple[str, list[str]]:
    """What tells documents apart, `source` or `origin`, and each one's.

    In a run of one source it is the first part in which the paths of the files differ: of the
    built-in corpus that is the package.
    """
    sources = documents.texts("source")
    if len(set(sources)) > 1:
        return "source", sources

    paths = [(path or "").split("/") for path in documents.texts("origin_file")]
    shared = 0
    while (
        all(len(path) > shared + 1 for path in paths)
        and len({tuple(path[: shared + 1]) for path in paths}) == 1
    ):
        shared += 1
    return "origin", [path[shared] for path in paths]


def by_frequency(names: Sequence[str]) -> list[str]:
    """The different ``names``, the most frequent first."""
    counts = Counter(names)
    return sorted(counts, key=lambda name: (-counts[name], name))
