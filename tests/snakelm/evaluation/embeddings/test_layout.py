"""The map: the same from the same vectors, alike near alike, and none of the small or equal cases
breaks it.
"""

import numpy as np
import pytest

from snakelm.evaluation.embeddings.layout import MANY, lay_out, library


def clusters(n, of=3, width=32, seed=0):
    """``n`` vectors around ``of`` centres, and which centre each is from."""
    generator = np.random.default_rng(seed)
    which = np.arange(n) % of
    return (
        4 * generator.normal(size=(of, width))[which] + generator.normal(size=(n, width))
    ).astype(np.float16), which


@pytest.mark.parametrize("method", ["scikit-learn", "opentsne"])
def test_same_vectors_same_map_and_alike_near_alike(method):
    vectors, which = clusters(120)
    positions = lay_out(vectors, 10, method, 1).positions
    assert positions.dtype == np.float32
    np.testing.assert_array_equal(positions, lay_out(vectors, 10, method, 1).positions)
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (which[distance.argmin(1)] == which).all()
    assert np.abs(positions).max() == pytest.approx(1)


@pytest.mark.parametrize("method", ["scikit-learn", "opentsne"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 12])
def test_few_documents(n, method):
    positions, used, distinct, perplexity = layout = lay_out(clusters(n)[0], 30, method, 0)
    assert distinct == n
    if n < 5:
        assert (used, perplexity) == ("principal components", None)
        assert f"{n} different vectors, too few for t-SNE" in layout.in_words()
    else:
        assert (used, perplexity) == (method, pytest.approx((n - 1) / 3))
        assert f"by {method}, perplexity {(n - 1) / 3:.3g}" in layout.in_words()
    assert positions.shape == (n, 2)
    assert np.isfinite(positions).all()
    assert len(np.unique(positions, axis=0)) == n


@pytest.mark.parametrize("n", [1, 2, 50])
def test_equal_documents_have_one_place(n):
    positions = lay_out(np.ones((n, 8), np.float16), 30, "auto", 0).positions
    np.testing.assert_array_equal(positions, np.zeros((n, 2), np.float32))


def test_copies_among_others_lie_where_their_original_does():
    vectors = clusters(40)[0]
    vectors[5:15] = vectors[5]
    positions, _, distinct, _ = lay_out(vectors, 10, "scikit-learn", 0)
    assert distinct == 31
    assert np.isfinite(positions).all()
    assert len(np.unique(positions[5:15], axis=0)) == 1
    assert len(np.unique(positions, axis=0)) == 31


@pytest.mark.parametrize("width", [1, 2])
def test_vectors_of_hardly_any_width(width):
    vectors = np.arange(20 * width, dtype=np.float16).reshape(20, width) ** 2
    assert np.isfinite(lay_out(vectors, 5, "auto", 0).positions).all()


def test_many_documents_go_to_opentsne_unless_the_config_says_otherwise():
    assert [library("auto", n) for n in (2, MANY - 1, MANY)] == [
        "scikit-learn",
        "scikit-learn",
        "opentsne",
    ]
    assert library("opentsne", 10) == "opentsne"
    assert library("scikit-learn", 10 * MANY) == "scikit-learn"
