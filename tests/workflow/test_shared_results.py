"""Two checkouts with one results folder: each makes again what the other one made with other
settings, one at a time, and takes none of the other's files for its own.
"""

import json
import os

import pytest

from snakelm.workflow.lock import locked

CONFIG = """\
preset: smoke
results: {results}
sources: [{{builtin: synthetic, limit: 150}}]
tokenizer: {{vocab_size: {size}}}
"""


@pytest.fixture(scope="module")
def shared(checkout, checkout_copy, tmp_path_factory):
    """A results folder, and its two checkouts with what they ask for."""
    results = tmp_path_factory.mktemp("shared") / "results"
    checkouts = [checkout, checkout_copy()]
    for one, size in zip(checkouts, (300, 320), strict=True):
        one.write("my.yaml", CONFIG.format(results=results, size=size))
    return results, *checkouts


def make(checkout, results, *more):
    target = str(results / "tokenizer/meta.json")
    return checkout.snakemake(*more, target, "--configfile", "my.yaml")


def vocabulary(results):
    return json.loads((results / "tokenizer/meta.json").read_text())["vocab_size"]


def test_the_first_makes_its_own_again_and_is_told_of_a_run_at_work(shared):
    results, first, second = shared
    for checkout, size in ((first, 300), (second, 320)):
        done = make(checkout, results)
        assert done.code == 0, done.said
        assert vocabulary(results) == size

    with locked(results / "config", "a test"):
        done = make(first, results)
        assert done.code == 2
        assert f"held by another run of the workflow (process {os.getpid()} on " in done.said

    done = make(first, results)
    assert done.code == 0, done.said
    assert vocabulary(results) == 300
    assert "[train_tokenizer]" in done.said
    assert "[deduplicate]" not in done.said

    assert make(first, results, "-n").jobs() == set()
    assert make(second, results, "-n").jobs() == {"train_tokenizer"}
