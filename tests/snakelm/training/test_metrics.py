"""Metrics and samples as runs really leave them: empty, torn, NaN, overlapping."""

import json
import math

import numpy as np
import pytest

from snakelm.errors import UserError
from snakelm.training import metrics as written  # the writer of the same file
from snakelm.training.metrics_reader import COLUMNS, read_metrics, read_samples

HEADER = ",".join(COLUMNS)


def lines(tmp_path, *rows):
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return read_metrics(path)


def line(step, loss="2.5", seconds=1):
    values = {"step": step, "tokens": step * 10, "loss": loss, "seconds": seconds}
    return ",".join(str(values.get(name, "")) for name in COLUMNS)


def test_columns_are_those_that_training_writes():
    assert COLUMNS == written.COLUMNS


@pytest.mark.parametrize(
    "rows", [[], [HEADER], [HEADER, ""]], ids=["no bytes", "header only", "header and newline"]
)
def test_no_rows(tmp_path, rows):
    metrics = lines(tmp_path, *rows)
    assert len(metrics) == 0
    assert metrics.last("loss") is None
    assert metrics.best("val_bpb") is None
    assert metrics.points("loss")[0].size == 0


def test_empty_fields_are_no_points_and_written_nan_is_counted(tmp_path):
    metrics = lines(
        tmp_path, HEADER, line(1), line(2, "nan"), line(3, "inf"), line(4, ""), line(5, "2.0")
    )
    assert metrics.points("loss")[1].tolist() == [2.5, 2.0]
    assert metrics.not_numbers() == 2, "an empty field isn't a loss that went wrong"
    assert metrics.points("val_loss")[0].size == 0


def test_torn_last_line_is_left_out_and_counted(tmp_path):
    metrics = lines(tmp_path, HEADER, line(1), line(2), "3,30,0.1,2.")
    assert metrics["step"].tolist() == [1, 2]
    assert metrics.unreadable == 1


def test_of_steps_done_twice_the_later_row_counts(tmp_path):
    rows = [line(s, "9.0") for s in (10, 20, 30, 40)] + [line(s, "1.0") for s in (30, 40, 50)]
    metrics = lines(tmp_path, HEADER, *rows)
    assert metrics["step"].tolist() == [10, 20, 30, 40, 50]
    assert metrics["loss"].tolist() == [9, 9, 1, 1, 1]
    assert (metrics.resumes, metrics.redone) == ((2,), 2)


def test_a_second_resume_further_back_replaces_the_first_mark(tmp_path):
    metrics = lines(tmp_path, HEADER, *map(line, (10, 20, 30, 20, 30, 10, 20)))
    assert metrics["step"].tolist() == [10, 20]
    assert metrics.resumes == (0,)


def test_a_clock_set_back_marks_a_resume_without_overlap(tmp_path):
    metrics = lines(tmp_path, HEADER, line(1, seconds=5), line(2, seconds=9), line(3, seconds=1))
    assert metrics.resumes == (2,)
    assert len(metrics) == 3


def test_best_takes_no_note_of_what_is_no_number(tmp_path):
    metrics = lines(
        tmp_path, HEADER, line(1, "nan"), line(2, "1.5"), line(3, "1.25"), line(4, "1.75")
    )
    assert metrics.best("loss") == (1.25, 3)


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no column `step`"):
        lines(tmp_path, "a,b", "1,2")


def test_columns_from_an_older_version_may_be_missing(tmp_path):
    metrics = lines(tmp_path, "step,loss", "1,2.0")
    assert metrics.last("loss") == 2.0
    assert np.isnan(metrics["mfu"]).all()


def test_samples_torn_redone_and_out_of_order(tmp_path):
    path = tmp_path / "samples.jsonl"
    records = [
        {"step": s, "prompt": "p", "text": t}
        for s, t in [(1, "a"), (2, "old"), (3, "gone"), (2, "new")]
    ]
    path.write_text(
        "".join(json.dumps(r) + "\n" for r in records) + '{"step": 4, "te', encoding="utf-8"
    )
    assert [(s.step, s.text) for s in read_samples(path)] == [(1, "a"), (2, "new")]


@pytest.mark.parametrize(
    "text", ["", "null\n[]\n3\n", '{"step": "x", "text": ""}\n', '{"step": 1}\n']
)
def test_what_is_no_sample_is_left_out(tmp_path, text):
    path = tmp_path / "samples.jsonl"
    path.write_text(text, encoding="utf-8")
    assert read_samples(path) == []


def test_numbers_survive_as_they_were_written(tmp_path):
    metrics = lines(tmp_path, HEADER, line(7, "1.2345678"))
    assert metrics.last("loss") == 1.2345678
    assert math.isclose(metrics.last("tokens"), 70)
