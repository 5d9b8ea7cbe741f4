"""The split: shares come out right, purposes are independent, small data sets keep both sides."""

import hashlib

import numpy as np
import pytest

from snakelm.data.split import (
    chosen,
    document_id,
    document_ids,
    is_validation,
    limit_threshold,
    mixed,
    repeats,
    texts_digest,
    validation_threshold,
)

IDS = np.random.default_rng(0).integers(0, 2**64, 50_000, np.uint64)


def test_a_digest_is_of_the_set_of_texts():
    ids = document_ids([b"one", b"two"])
    assert texts_digest(ids) == texts_digest(ids[::-1])
    assert texts_digest(ids) != texts_digest(document_ids([b"one", b"three"]))
    assert texts_digest(ids[:0]) is None


def test_an_id_is_blake2b_of_the_bytes_and_never_changes():
    assert document_id(b"snake") == int.from_bytes(
        hashlib.blake2b(b"snake", digest_size=8).digest(), "little"
    )
    assert document_ids([b"snake", b""]).tolist() == [
        int(document_id(b"snake")),
        int(document_id(b"")),
    ]
    assert document_ids([]).dtype == np.uint64
    assert mixed(np.array([1, 2], np.uint64), 1337, "validation").tolist() == [
        9588296862461260982,
        12303200030461285320,
    ], "a change here moves documents between training and validation of every data set"


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.02, 0.5, 1.0])
def test_shares_come_out_right(fraction):
    for pick in (is_validation, chosen):
        share = pick(IDS, fraction, 1337).mean()
        assert abs(share - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / IDS.size) + 1e-9


def test_sampling_and_validation_are_independent():
    sampled = IDS[chosen(IDS, 0.1, 1337)]
    assert 0.4 < is_validation(sampled, 0.5, 1337).mean() < 0.6
    assert (is_validation(IDS, 0.5, 1) != is_validation(IDS, 0.5, 2)).mean() > 0.4


def test_neighbouring_ids_are_scattered():
    assert 0.4 < is_validation(np.arange(10_000, dtype=np.uint64), 0.5, 0).mean() < 0.6


@pytest.mark.parametrize("fraction", [1e-9, 0.02, 0.5, 0.999999])
@pytest.mark.parametrize("count", [2, 3, 10, 1000])
def test_both_sides_have_a_document(count, fraction):
    ids = IDS[:count]
    held = is_validation(ids, fraction, 7, validation_threshold(ids, fraction, 7))
    assert 0 < held.sum() < count


def test_the_plain_share_is_used_where_it_serves():
    threshold = validation_threshold(IDS, 0.02, 7)
    assert (is_validation(IDS, 0.02, 7, threshold) == is_validation(IDS, 0.02, 7)).all()


def test_the_extremes_alone_give_the_same_threshold():
    ids = IDS[:40]
    order = mixed(ids, 7, "validation")
    extremes = ids[[order.argmin(), order.argmax()]]
    assert validation_threshold(extremes, 1e-6, 7) == validation_threshold(ids, 1e-6, 7)


@pytest.mark.parametrize("ids", [[], [5], [5, 5, 5]], ids=["none", "one", "one thrice"])
def test_too_few_documents_is_an_error(ids):
    with pytest.raises(ValueError, match="fewer than two different documents"):
        validation_threshold(np.array(ids, np.uint64), 0.5, 0)


@pytest.mark.parametrize("limit", [1, 3, 9, 10, 11])
def test_the_limit_takes_exactly_so_many_ties_included(limit):
    values = np.array([5, 1, 5, 5, 2, 9, 5, 7, 0, 5], np.uint64)
    threshold, ties = limit_threshold(values, limit)
    if threshold == 2**64:
        assert limit >= values.size
        return
    below, equal = (values < np.uint64(threshold)).sum(), (values == np.uint64(threshold)).sum()
    assert below + ties == limit
    assert ties <= equal


@pytest.mark.parametrize("weight", [0.25, 1.0, 2.0, 2.25])
def test_weights_are_kept_on_average(weight):
    times = repeats(IDS, weight, 3)
    assert abs(times.mean() - weight) < 0.02
    assert set(times.tolist()) <= {int(weight), int(weight) + 1}
