"""Vectors to places on a plane: t-SNE, by scikit-learn or, for many documents, by openTSNE.

Vectors are centred and scaled to length one first: a direction that all share says nothing of one,
and how long a vector is says little (docs/EXPERIMENTS.md). Of them 50 principal components are
kept, which is what t-SNE looks for neighbours in; the first two, tiny, are where it begins, so that
the same documents give the same map and far parts of it mean something. Equal vectors have one
place: t-SNE sees each only once, and cannot divide by a distance of zero. Fewer than five different
ones have no neighbourhoods to keep; their two components are the map.

One thread: sums over several come out in another order each time, and t-SNE makes another map of a
last digit.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["MANY", "lay_out", "library"]

MANY = 20_000  # documents from which openTSNE is faster (docs/EXPERIMENTS.md)
COMPONENTS = 50
FEWEST = 5
SPREAD = 1e-4  # standard deviation of the first places


def library(method: str, documents: int) -> str:
    """`scikit-learn` or `opentsne`, by tsne.method and the number of documents."""
    if method != "auto":
        return method
    return "opentsne" if documents >= MANY else "scikit-learn"


def lay_out(vectors: np.ndarray, perplexity: float, method: str, seed: int) -> np.ndarray:
    """Places float32 [n, 2] of ``vectors`` [n, width], as large as goes into the square from -1 to
    1, in its middle.
    """
    different, back = np.unique(_directions(vectors), axis=0, return_inverse=True)
    points = _components(different)
    if len(different) >= FEWEST:
        # A perplexity of n/3 needs all n neighbours; more isn't to be had.
        start = points[:, :2] / max(float(points[:, 0].std()), 1e-12) * SPREAD
        near = min(perplexity, (len(different) - 1) / 3)
        points = _by(library(method, len(different)))(points, near, start, seed)
    places = points[back.ravel(), :2].astype(np.float64)
    low, high = places.min(0), places.max(0)
    return ((places - (low + high) / 2) / max(float((high - low).max()) / 2, 1e-12)).astype(
        np.float32
    )


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Centred, of length one, float32 [n, width]; zero where a vector is the mean."""
    centred = vectors - vectors.mean(0, dtype=np.float64).astype(np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(length > 1e-4, centred / np.maximum(length, 1e-4), np.float32(0))


def _components(vectors: np.ndarray) -> np.ndarray:
    """The first 50 principal components, at least two: float32 [n, 50]. Each one's largest weight
    is positive.
    """
    centred = vectors - vectors.mean(0, dtype=np.float64).astype(np.float32)
    _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    axes = axes[:, ::-1][:, :COMPONENTS]
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    found = centred @ axes.astype(np.float32)
    return np.pad(found, ((0, 0), (0, max(0, 2 - found.shape[1]))))


def _by(name: str) -> Callable[[np.ndarray, float, np.ndarray, int], np.ndarray]:
    return {"scikit-learn": _scikit_learn, "opentsne": _opentsne}[name]


def _scikit_learn(
    points: np.ndarray, perplexity: float, start: np.ndarray, seed: int
) -> np.ndarray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return TSNE(
            2, perplexity=perplexity, init=start, random_state=seed, n_jobs=1
        ).fit_transform(points)


def _opentsne(points: np.ndarray, perplexity: float, start: np.ndarray, seed: int) -> np.ndarray:
    import openTSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        map_ = openTSNE.TSNE(
            perplexity=perplexity,
            initialization=start.astype(np.float64),
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(map_.fit(points))
