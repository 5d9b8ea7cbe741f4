"""Near duplicates: the outcome is that of comparing every pair in the order considered, and memory
doesn't grow.
"""

import numpy as np
import pytest

from snakelm import _dedup
from snakelm.config import Deduplicate
from snakelm.data.documents import minhash as module
from snakelm.data.documents.minhash import DROPPED, NO_LINK, NearDuplicates, bands


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9])
def test_bands_find_pairs_at_the_threshold(threshold):
    count, rows = bands(128, threshold)
    assert count * rows <= 128
    assert 1 - (1 - threshold**rows) ** count >= 0.97


def families(count: int, seed: int = 0) -> np.ndarray:
    """Signatures of ``count`` documents of 20 families; of its family's places a member has all,
    most or few.
    """
    random = np.random.default_rng(seed)
    base = random.integers(0, 2**32 - 1, (20, 128)).astype(np.uint32)
    made = base[random.integers(0, 20, count)]
    flip = random.random(made.shape) < random.choice([0.0, 0.1, 0.6], (count, 1))
    return np.where(flip, random.integers(0, 2**32 - 1, made.shape), made).astype(np.uint32)


def every_pair(
    made: np.ndarray, order: np.ndarray, out: np.ndarray, threshold: float = 0.7
) -> list[int]:
    staying, gone = [], []
    for i in (i for i in order.tolist() if not out[i]):
        alike = any((made[i] == made[j]).mean() >= threshold for j in staying)
        (gone if alike else staying).append(i)
    return sorted(gone)


def dropped(
    tmp_path, made: np.ndarray, order: np.ndarray, out: np.ndarray, step: int = 10_000
) -> list[int]:
    near = NearDuplicates(tmp_path, len(made), Deduplicate())
    for first in range(0, len(made), step):
        near.add_signatures(made[first : first + step])
    return np.flatnonzero(near.near(order.astype(np.uint32), out)).tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("order", ["first to last", "last to first", "shuffled"])
def test_it_agrees_with_comparing_every_pair(tmp_path, seed, order):
    made = families(300, seed)
    places = np.arange(300)
    order = {"first to last": places, "last to first": places[::-1]}.get(
        order, np.random.default_rng(9).permutation(300)
    )
    out = np.random.default_rng(seed).random(300) < 0.1
    assert dropped(tmp_path, made, order, out) == every_pair(made, order, out)


def test_slabs_change_nothing(tmp_path, monkeypatch):
    made, order, out = families(300), np.arange(300), np.zeros(300, bool)
    complete = dropped(tmp_path, made, order, out)
    monkeypatch.setattr(module, "SLAB", 7)
    assert dropped(tmp_path, made, order, out, step=5) == complete != []


def test_the_scratch_files_have_no_name(tmp_path):
    near = NearDuplicates(tmp_path, 10, Deduplicate())
    near.add_signatures(families(10))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 1])
def test_no_document_and_one(tmp_path, count):
    assert dropped(tmp_path, families(count), np.arange(count), np.zeros(count, bool)) == []


def test_a_bucket_too_full_bounds_the_comparisons(tmp_path, monkeypatch):
    """Documents that share one band and nothing else: each is compared with the latest few alone,
    and all stay.
    """
    monkeypatch.setattr(module, "FULLEST_BUCKET", 2)
    made = np.random.default_rng(0).integers(0, 2**32 - 1, (500, 128)).astype(np.uint32)
    made[:, :5] = 7
    assert dropped(tmp_path, made, np.arange(500), np.zeros(500, bool)) == []
    made[499] = made[0]  # too long ago in that bucket, but its other buckets have room
    assert dropped(tmp_path, made, np.arange(500), np.zeros(500, bool)) == [499]


@pytest.mark.parametrize(
    ("links", "rows"),
    [
        ([NO_LINK, 3, 1, 2], [0, 1, 2, 3]),
        ([NO_LINK, 1, 1, 2], [0, 1, 2, 3]),
        ([NO_LINK, 2**31, 1, 2], [0, 1, 2, 3]),
        ([NO_LINK, 0, 1, 2], [0, 4, 2, 3]),
        ([NO_LINK, 0, 1, 2], [0, 1, 2, 2**32 - 1]),
    ],
    ids=["behind", "itself", "nowhere", "its signature", "own signature"],
)
def test_what_leads_nowhere_is_not_followed(links, rows):
    """Also from a document before the first that is decided on."""
    signatures = np.arange(4 * 16, dtype=np.uint16).reshape(4, 16)
    state = np.zeros(4, np.uint32)
    state[2] = DROPPED  # so that the link of the one before it is followed and shortened
    for first in (1, 3):
        with pytest.raises(ValueError, match="leads to none before it"):
            _dedup.drop_near_duplicates(
                np.array([links], np.uint32),
                signatures,
                np.array(rows, np.uint32),
                state.copy(),
                first,
                4,
                16,
                10,
            )
