"""The page that sets a plan beside its run: where the result lies, and what can't be said."""

import pytest

from snakelm.analysis.tables.plan import sentences, write_plan
from snakelm.evaluation.plan_record import PlannedSize, PlanRecord
from snakelm.evaluation.records import Interval

RESULT = {
    "val_bpb": 1.75,
    "seconds": 150.0,
    "peak_bytes": 700_000_000,
    "device": "cpu, bf16, 2 threads",
}


def plan(**more) -> PlanRecord:
    sizes = [
        size(1, Interval(1.9, 1.8, 2.0), **more),
        size(2, None, note="at least 900 steps: 4 hours"),
    ]
    return PlanRecord(
        hours=0.05,
        machine="cpu, bf16, 2 threads",
        documents=10,
        text_bytes=1_000_000,
        difficulty=2.0,
        recorded_text="docs",
        recorded_runs=12,
        sizes=sizes,
        chosen=0,
    )


def size(number, bpb, **more) -> PlannedSize:
    made = {
        "size": number,
        "layers": 1,
        "width": 64,
        "vocab_size": 2048,
        "parameters": 300_000,
        "steps": 900,
        "tokens": 921_600,
        "epochs": 0.5,
        "memory_bytes": 650e6,
        "bpb": bpb,
        "beyond": [],
        "step_seconds": 0.1,
        "measured": True,
        "training_seconds": 100.0,
        "note": "",
    }
    return PlannedSize.model_validate({**made, **more})


@pytest.mark.parametrize(("found", "place"), [(1.75, "below"), (1.9, "inside"), (2.5, "above")])
def test_the_result_is_placed_in_its_interval(found, place):
    first, time = sentences(plan(), {**RESULT, "val_bpb": found})
    assert f"predicted 1.9000: {place} the interval 1.8000 to 2.0000" in first
    assert time == "Training took 1.50 times the time that was planned for it, of 0.05 hours."


def test_what_makes_a_prediction_weak_is_said():
    said = list(sentences(plan(beyond=["size"]), {**RESULT, "device": "cuda"}))
    assert any("In size the run is beyond every recorded one" in one for one in said)
    assert said[-1] == "Planned on cpu, bf16, 2 threads, trained on cuda."
    assert list(sentences(plan(), {"device": "cpu, bf16, 2 threads"})) == []


def test_the_page_has_prediction_result_and_the_sizes_that_were_not_taken(tmp_path):
    write_plan(plan(), RESULT, tmp_path / "plan.html")
    page = (tmp_path / "plan.html").read_text(encoding="utf-8")
    for part in ("1.900 (1.800 to 2.000)", "1.7500", "1 min 40 s", "2 min 30 s", "1 (chosen)"):
        assert part in page, part
    assert "at least 900 steps: 4 hours" in page
