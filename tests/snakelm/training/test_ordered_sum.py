"""A sum in parts has the same bits for any number of processes, here threads with a network of
queues.
"""

import queue
import threading

import pytest
import torch

from snakelm.training import ordered_sum
from snakelm.training.ordered_sum import owner, parts_of

PARTS = 8
LENGTH = 1000


def values():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(LENGTH, generator=generator) * 10**i for i in range(PARTS)]


class Network:
    """What torch.distributed does between processes; a rank is the thread's name."""

    def __init__(self, size):
        sources = (*range(size), "all")
        self.size = size
        self.sent = {(source, to): queue.Queue() for source in sources for to in range(size)}

    def rank(self):
        return int(threading.current_thread().name)

    def send(self, tensor, to):
        self.sent[self.rank(), to].put(tensor.clone())

    def recv(self, tensor, source):
        tensor.copy_(self.sent[source, self.rank()].get(timeout=30))

    def broadcast(self, tensor, source):
        if self.rank() == source:
            for to in range(self.size):
                self.sent["all", to].put(tensor.clone())
        tensor.copy_(self.sent["all", self.rank()].get(timeout=30))


def sums(size, monkeypatch, parts=PARTS):
    """What each of ``size`` processes gets of the first ``parts`` values."""
    monkeypatch.setattr(ordered_sum, "dist", Network(size))
    results = [None] * size

    def process(rank):
        given = values()
        computed = []

        def compute(part):
            computed.append(part)
            return given[part]

        results[rank] = ordered_sum.ordered_sum(compute, parts, rank, size)
        assert computed == parts_of(rank, parts, size)

    threads = [threading.Thread(target=process, args=(r,), name=str(r)) for r in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


@pytest.mark.parametrize(
    ("parts", "size"),
    [(parts, size) for parts in (3, 5, 7, PARTS) for size in range(1, parts + 1)],
)
def test_the_sum_has_the_same_bits_whoever_computes_the_parts(parts, size, monkeypatch):
    (alone,) = sums(1, monkeypatch, parts)
    exact = torch.stack(values()[:parts]).double().sum(0)
    torch.testing.assert_close(alone.double(), exact, rtol=1e-5, atol=1e-2)
    for result in sums(size, monkeypatch, parts):
        assert torch.equal(result, alone)


def test_a_sum_from_left_to_right_has_other_bits(monkeypatch):
    """Else the test above would prove nothing."""
    assert not torch.equal(sums(1, monkeypatch)[0], sum(values()[1:], values()[0]))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_every_part_has_one_owner_and_shares_differ_by_one(size):
    shares = [parts_of(rank, PARTS, size) for rank in range(size)]
    assert [part for share in shares for part in share] == list(range(PARTS))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert owner(0, PARTS, size) == 0
