"""What a run left is read as it is: resumes from the log, and damage is named in one line."""

from pathlib import Path

import pytest

from snakelm.analysis.run_record import read_record, read_resumes
from snakelm.config import from_mapping
from snakelm.errors import UserError


def test_resumes_of_the_last_run_in_the_log(tmp_path):
    log = tmp_path / "training.log"
    one, two = "run 0123456789abcdef on cpu", "run fedcba9876543210 on cpu"
    resumed = "10:00:00 resumes after step {} of 100"
    parts = {
        (one,): (),
        (one, one, resumed.format(20)): (20,),
        (one, one, resumed.format(20), one, resumed.format(40)): (20, 40),
        (one, one, resumed.format(40), one, resumed.format(20)): (20,),
        (one, one, resumed.format(20), two): (),
        (one, one, resumed.format(20), one): (),  # its folder was deleted in between
    }
    for lines, steps in parts.items():
        log.write_text("\n".join(lines), encoding="utf-8")
        assert read_resumes(log) == steps


def test_the_log_is_read_as_training_writes_it():
    training = Path(__file__).resolve().parents[3] / "snakelm/training"
    loop, progress = (
        (training / f"{name}.py").read_text(encoding="utf-8") for name in ("loop", "progress")
    )
    assert 'f"run {recipe.fingerprint} on {' in loop
    assert 'f"resumes after step {self.step} of' in progress


@pytest.mark.parametrize("text", ["", "[1]", "{"], ids=["empty", "a list", "torn"])
def test_a_baseline_that_is_none_is_named(text, tmp_path):
    (tmp_path / "metrics.csv").write_text("", encoding="utf-8")
    (tmp_path / "baseline.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"baseline\.json"):
        read_record(
            from_mapping({}), metrics=tmp_path / "metrics.csv", baseline=tmp_path / "baseline.json"
        )
