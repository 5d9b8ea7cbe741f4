"""The law of recorded runs: found again where it is known, unsure where it should be."""

import json
import math

import numpy as np
import pytest

from snakelm.errors import UserError
from snakelm.evaluation.size_law import (
    RecordedRuns,
    SizeLaw,
    effective_bytes,
    recorded_runs,
)

KNOWN = (0.6, 0.25, 0.4, 1.5, 0.35)  # E, A, a, B, b


def loss(parameters: float, text: float) -> float:
    floor, a, alpha, b, beta = KNOWN
    return floor + a * (parameters / 1e6) ** -alpha + b * (text / 1e6) ** -beta


def record(noise: float = 0.0, shift: float = 0.0) -> RecordedRuns:
    """Runs at four sizes and four lengths; three of another text, twice as hard for xz."""
    generator = np.random.default_rng(1)
    runs = [
        run("docs", size, length, loss(size**3 * 5e4, length * size**3 * 2e5))
        for size in (1, 2, 3, 4)
        for length in (0.5, 1.0, 2.0, 4.0)
    ]
    for one in runs:
        one["bpb"] *= math.exp(noise * generator.standard_normal())
    other = [
        run("hard", size, 1.0, 2 * math.exp(shift) * loss(size**3 * 5e4, size**3 * 2e5))
        for size in (1, 2, 3)
    ]
    sweep = [{**runs[0], "factor": 2.0, "bpb": 9.0}]
    difficulty = {"docs": 1.0, "hard": 2.0}
    return RecordedRuns.model_validate(
        {"law": "docs", "difficulty": difficulty, "runs": [*runs, *other, *sweep]}
    )


def run(text: str, size: int, length: float, bpb: float) -> dict:
    return {
        "size": size,
        "factor": 1.0,
        "length": length,
        "seed": 1,
        "text": text,
        "parameters": size**3 * 50_000,
        "tokens": round(length * size**3 * 50_000),
        "unique_tokens": 10**9,
        "bytes_per_token": 4.0,
        "bpb": bpb,
        "clean": None,
        "cpu": 1.0,
    }


def test_a_known_law_is_found_again_inside_and_beyond_its_runs():
    law = SizeLaw(record())
    for parameters, text in ((2e5, 1e6), (3e6, 4e7), (1e7, 1e8)):
        assert law.predict(parameters, text).value == pytest.approx(
            loss(parameters, text), rel=0.01
        )
    assert law.count == 16, "runs with other rates and of other texts are no part of it"


def test_an_interval_holds_the_truth_and_is_wider_where_no_run_was():
    law = SizeLaw(record(noise=0.01))
    inside, beyond = law.predict(1.35e6, 5.4e6), law.predict(1e8, 1e9)
    for interval, truth in ((inside, loss(1.35e6, 5.4e6)), (beyond, loss(1e8, 1e9))):
        assert interval.low < truth < interval.high
    assert math.log(beyond.high / beyond.low) > 1.5 * math.log(inside.high / inside.low)
    assert law.beyond(1.35e6, 5.4e6) == []
    assert law.beyond(1e8, 1e9) == ["size", "text"]
    longest = max(run.effective / run.parameters for run in law.record.of_the_law())
    assert law.beyond(1.35e6, 1.5 * longest * 1.35e6) == ["text for its size"]


def test_a_law_that_missed_a_size_is_trusted_less_beyond_all():
    law_abiding, odd = record(noise=0.002), record(noise=0.002)
    kept = [run for run in odd.runs if run.size != 4 or run.text != "docs"]
    off = [run for run in odd.runs if run.size == 4 and run.text == "docs"]
    off = [run.model_copy(update={"bpb": 1.1 * run.bpb}) for run in off]
    missed = SizeLaw(odd.model_copy(update={"runs": [*kept, *off]}))
    assert missed.misfit > 0.04 > SizeLaw(law_abiding).misfit
    beyond = missed.predict(1e8, 1e8)
    assert math.log(beyond.high / beyond.low) > 4 * missed.misfit


def test_another_text_costs_certainty_as_far_as_it_did_before():
    sure, unsure = SizeLaw(record(noise=0.01)), SizeLaw(record(noise=0.01, shift=0.3))
    assert unsure.text_error == pytest.approx(0.3 / math.log(2), rel=0.1)
    same, hard = unsure.predict(1e6, 5e6, 1.0), unsure.predict(1e6, 5e6, 2.0)
    assert hard.value == pytest.approx(2 * same.value)
    assert hard.high / hard.low > 2 * (same.high / same.low)
    assert same.high / same.low == pytest.approx(
        (i := sure.predict(1e6, 5e6)).high / i.low, rel=0.2
    )


def test_text_that_comes_again_counts_for_less():
    assert effective_bytes(5.0, 10.0) == 5.0
    twice, often = effective_bytes(20.0, 10.0), effective_bytes(1e6, 10.0)
    assert 19.0 < twice < 20.0
    assert often == pytest.approx(10 * (1 + 15.4))


def test_the_recorded_runs_are_those_of_the_dial():
    """They span the sizes that docs/EXPERIMENTS.md speaks of, and give a law."""
    runs = recorded_runs().of_the_law()
    assert {run.size for run in runs} == {1, 2, 3, 4}
    assert max(r.parameters for r in runs) > 16 * min(r.parameters for r in runs)
    law = SizeLaw(recorded_runs())
    for one in runs:
        interval = law.predict(one.parameters, one.effective)
        assert interval.low < one.bpb < interval.high


def test_a_damaged_record_is_said(tmp_path):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({"law": "docs"}))
    with pytest.raises(UserError, match="take it from the repository again"):
        recorded_runs(path)
