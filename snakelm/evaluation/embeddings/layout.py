"""Vectors to positions on a plane by t-SNE (van der Maaten and Hinton, 2008): scikit-learn's
Barnes-Hut, or for many documents openTSNE's interpolation (Linderman et al., 2019).

Before it, vectors are centred and scaled to length one: a direction that all share tells none of
them apart, and how long a vector is says little (docs/EXPERIMENTS.md). Of the result 50 principal
components are kept, in which t-SNE looks for neighbours. The first two of them, scaled down, are
the initial positions, so the same documents give the same map, and which islands are far apart
means something (Kobak and Berens, 2019).

Equal vectors get one position: t-SNE sees each once, since it cannot divide by a distance of zero.
Fewer than five different ones have no neighbourhoods to keep; two components are the map.

One thread: several add up in another order each time, and t-SNE turns a difference in the last
digit into another map.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["MANY", "Layout", "lay_out", "library"]

MANY = 20_000  # documents from which openTSNE is used (docs/EXPERIMENTS.md)
COMPONENTS = 50
FEWEST = 5  # different vectors that t-SNE is used for
INITIAL_SPREAD = 1e-4  # standard deviation of the first coordinate to begin with
TINY = 1e-12  # divides where everything lies in one point

# (points float32 [n, 50], perplexity, initial positions [n, 2], seed) → positions [n, 2]
Tsne = Callable[[np.ndarray, float, np.ndarray, int], np.ndarray]


class Layout(NamedTuple):
    """``positions``: float32 [n, 2], centred in the square from -1 to 1 and as large as fits.
    ``method``: the library, or `principal components`; ``distinct``: different vectors;
    ``perplexity``: t-SNE's, of few vectors less than was asked for; None without it.
    """

    positions: np.ndarray
    method: str
    distinct: int
    perplexity: float | None

    def in_words(self) -> str:
        """How it was made: `t-SNE of 90 different vectors by scikit-learn, perplexity 29.7`."""
        if self.perplexity is None:
            return f"{self.distinct} different vectors, too few for t-SNE: principal components"
        return (
            f"t-SNE of {self.distinct:,} different vectors by {self.method}, "
            f"perplexity {self.perplexity:.3g}"
        )


def library(method: str, documents: int) -> str:
    """`scikit-learn` or `opentsne`, by tsne.method and the number of documents."""
    if method != "auto":
        return method
    return "opentsne" if documents >= MANY else "scikit-learn"


def lay_out(vectors: np.ndarray, perplexity: float, method: str, seed: int) -> Layout:
    """Where ``vectors`` float16 [n, width] lie on the plane, and how that was found."""
    distinct, back = np.unique(_directions(vectors), axis=0, return_inverse=True)
    points, used, taken = _principal_components(distinct), "principal components", None

    if len(distinct) >= FEWEST:
        initial = points[:, :2] / max(float(points[:, 0].std()), TINY) * INITIAL_SPREAD
        # A point has three neighbours for each unit of perplexity, and n - 1 is all there are.
        used, taken = library(method, len(distinct)), min(perplexity, (len(distinct) - 1) / 3)
        points = TSNE[used](points, taken, initial, seed)

    positions = points[back.ravel(), :2].astype(np.float64)
    low, high = positions.min(0), positions.max(0)
    half_extent = max(float((high - low).max()) / 2, TINY)
    centred = ((positions - (low + high) / 2) / half_extent).astype(np.float32)
    return Layout(centred, used, len(distinct), taken)


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Centred, of length one, float32 [n, width]; zero where a vector is the mean."""
    centred = vectors - vectors.mean(0, dtype=np.float64).astype(np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(length > 1e-4, centred / np.maximum(length, 1e-4), np.float32(0))


def _principal_components(vectors: np.ndarray) -> np.ndarray:
    """The first 50 principal components (fewer of narrower vectors, but at least two): float32
    [n, 50].
    """
    centred = vectors - vectors.mean(0, dtype=np.float64).astype(np.float32)
    _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    axes = axes[:, ::-1][:, :COMPONENTS]  # eigh sorts by rising variance

    # An eigenvector's sign is arbitrary: its largest weight is made positive.
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    components = centred @ axes.astype(np.float32)
    return np.pad(components, ((0, 0), (0, max(0, 2 - components.shape[1]))))


def _scikit_learn(
    points: np.ndarray, perplexity: float, initial: np.ndarray, seed: int
) -> np.ndarray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        tsne = TSNE(2, perplexity=perplexity, init=initial, random_state=seed, n_jobs=1)
        return tsne.fit_transform(points)


def _opentsne(points: np.ndarray, perplexity: float, initial: np.ndarray, seed: int) -> np.ndarray:
    import openTSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        tsne = openTSNE.TSNE(
            perplexity=perplexity,
            initialization=initial.astype(np.float64),
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(tsne.fit(points))


TSNE: dict[str, Tsne] = {"scikit-learn": _scikit_learn, "opentsne": _opentsne}
