"""What a run cost, against sums by hand; estimates are named as such, and what wasn't measured
isn't made up.
"""

import pytest

from snakelm.analysis.cost import step_costs, total_cost
from snakelm.analysis.plot import LAST_FIGURES, LAST_TABLES

HEAD = "s\th:m:s\tmax_rss\tcpu_time\n"


@pytest.fixture
def timings(tmp_path):
    """Snakemake's files: a preparation in two parts, a training resumed for 3 seconds, and a job
    too short to see.
    """
    rows = {"prepare_shard.0-of-2": "4\t0\t100\t3\n", "prepare_shard.1-of-2": "6\t0\t150\t5\n"}
    rows |= {"train": "3\t0\t900\t2\n", "export": "1\t0\tNA\tNA\n"}
    for name, row in rows.items():
        (tmp_path / f"{name}.tsv").write_text(HEAD + row, encoding="utf-8")
    return [tmp_path / f"{name}.tsv" for name in rows] + [tmp_path / "absent.tsv"]


def test_parts_are_added_and_an_interrupted_training_counts_whole(
    timings, make_record, whole_run, manifest
):
    model = manifest("model.pt", "train", result={"processes": 2})
    steps = {
        s.step: s for s in step_costs(make_record(whole_run, timings=timings, artefacts=[model]))
    }
    assert list(steps) == ["prepare_shard", "train", "export"]
    assert (steps["prepare_shard"].seconds, steps["prepare_shard"].cpu_seconds) == (10, 8)
    assert steps["prepare_shard"].peak_mb == 150, "of memory the largest part"
    assert steps["train"].seconds == pytest.approx(100 / 7), (
        "the metrics' time, not the last start's"
    )
    assert steps["train"].cpu_seconds == 2 * 25, "of both processes"
    assert steps["train"].written == 1000
    assert steps["export"].cpu_seconds == 0


def test_so_does_an_interrupted_learning_from_preferences(tmp_path, make_record, manifest):
    (tmp_path / "train_preferences.tsv").write_text(HEAD + "3\t0\t900\t2\n", encoding="utf-8")
    result = {"processes": 2, "seconds": 60.0, "cpu_seconds": 50.0, "gpu_peak_bytes": 1 << 30}
    model = manifest("preference_model.pt", "train_preferences", result=result)
    timed = [tmp_path / "train_preferences.tsv"]
    (cost,) = step_costs(make_record([], timings=timed, artefacts=[model]))
    assert (cost.seconds, cost.cpu_seconds, cost.gpu_seconds) == (60, 100, 120)


def test_energy_and_money_are_the_products(timings, make_record, manifest):
    cost = {"watts_per_core": 20, "price_per_kwh": 0.5}
    model = manifest(
        "model.pt", "train", result={"gpu_peak_bytes": 2 << 30, "gpu_watts": 300.0, "processes": 4}
    )
    train = step_costs(make_record([], {"cost": cost}, timings=timings, artefacts=[model]))[1]
    assert train.gpu_seconds == 4 * 3
    assert train.gpu_peak_mb == 2048
    assert train.kwh == pytest.approx((2 * 20 + 12 * 300) / 3.6e6)
    assert train.money == pytest.approx(train.kwh * 0.5)


def test_a_trainings_own_peak_counts_where_snakemake_saw_less(timings, make_record, manifest):
    model = manifest("model.pt", "train", result={"peak_bytes": 3 << 30})
    assert step_costs(make_record([], timings=timings, artefacts=[model]))[1].peak_mb == 3072
    low = manifest("model.pt", "train", result={"peak_bytes": 1})
    assert step_costs(make_record([], timings=timings, artefacts=[low]))[1].peak_mb == 900


def test_a_rented_machine_costs_its_hours(timings, make_record):
    steps = step_costs(make_record([], {"cost": {"price_per_hour": 36.0}}, timings=timings))
    assert [s.money for s in steps] == pytest.approx([0.10, 0.03, 0.01])
    total = total_cost(steps)
    assert total.money == pytest.approx(0.14)
    assert (total.seconds, total.peak_mb) == (14, 900)


@pytest.mark.parametrize(
    "gpu", [{}, {"gpu_peak_bytes": 1}], ids=["cpu", "a GPU that is silent about its power"]
)
def test_the_page_says_what_is_an_estimate(gpu, timings, make_record, manifest, tmp_path):
    record = make_record([], timings=timings, artefacts=[manifest("model.pt", "train", result=gpu)])
    LAST_TABLES["cost"](record, tmp_path / "cost.html")
    page = (tmp_path / "cost.html").read_text(encoding="utf-8")
    assert "Estimated: " in page
    assert "10 watts a core (cost.watts_per_core)" in page
    assert ("so its energy is missing" in page) == bool(gpu)


def test_nothing_timed_is_said(make_record, tmp_path):
    record = make_record([])
    LAST_TABLES["cost"](record, tmp_path / "cost.html")
    LAST_FIGURES["time"](record, tmp_path / "time.svg")
    assert "No step was timed" in (tmp_path / "cost.html").read_text(encoding="utf-8")
    LAST_TABLES["summary"](record, tmp_path / "summary.html")
    assert "energy and cost" not in (tmp_path / "summary.html").read_text(encoding="utf-8")


def test_the_page_says_where_the_number_of_processes_changed(
    timings, make_record, manifest, tmp_path
):
    changed = {"0": 2, "150": 1, "40": 4}
    for numbers in (changed, {"0": 2}):
        model = manifest("model.pt", "train", result={"processes_from_step": numbers})
        record = make_record([], timings=timings, artefacts=[model])
        LAST_TABLES["cost"](record, tmp_path / "cost.html")
        said = "2 from step 0 on, 4 from step 40 on, 1 from step 150 on"
        assert (said in (tmp_path / "cost.html").read_text()) == (numbers == changed)
