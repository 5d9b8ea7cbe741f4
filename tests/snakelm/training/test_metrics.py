"""Metrics and samples: written so that no step is there twice, read as runs really leave them
(empty, cut off, NaN, overlapping).
"""

import csv
import json
import math
import socket

import numpy as np
import pytest

from snakelm.errors import UserError
from snakelm.training.metrics import (
    COLUMNS,
    FINETUNING,
    PRETRAINING,
    MetricsRow,
    Sample,
    read_metrics,
    read_samples,
)
from snakelm.training.metrics_writer import NO_STEP, MetricsWriter

HEADER = ",".join(COLUMNS)


def rows(folder):
    with open(folder / "training_metrics.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_of_a_resumed_run_hold_each_step_once(tmp_path):
    run, logs = tmp_path / "run", tmp_path / "logs"
    first = MetricsWriter(run, logs, 0)
    for step in (1, 2, 3):
        first.row(MetricsRow(step=step, loss=step / 2))
        first.sample(Sample(step, "a", "é\nb"))
    with open(run / "training_metrics.csv", "a") as file:
        file.write("4,9")  # killed in the middle of a line
    (logs / "training_metrics.csv").unlink()  # as Snakemake does
    again = MetricsWriter(run, logs, 2)
    again.row(MetricsRow(step=3, loss=1.25, val_bpb=2.0))
    assert [(r["step"], r["loss"], r["val_bpb"]) for r in rows(logs)] == [
        ("1", "0.5", ""),
        ("2", "1", ""),
        ("3", "1.25", "2"),
    ]
    assert rows(run) == rows(logs)
    assert tuple(rows(logs)[0]) == PRETRAINING.columns
    samples = (logs / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(s)["step"] for s in samples] == [1, 2]


def test_tensorboard_files_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = MetricsWriter(tmp_path / "run", tmp_path / "logs", 0, board="run")
    metrics.row(MetricsRow(step=3, loss=1.5, val_bpb=2.5))
    metrics.close()
    events = EventAccumulator(str(tmp_path / "logs/runs/run")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("bpb/val")] == [(3, 2.5)]


def shown(tmp_path, tag, board="run"):
    """The points of a curve, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "logs/runs" / board)).Reload()
    return [(e.step, e.value) for e in events.Scalars(tag)]


def test_tensorboard_shows_no_step_twice(tmp_path):
    """A run that died before its first checkpoint begins again at the first step."""
    pytest.importorskip("tensorboard")
    for losses in ([4.0, 3.0, 2.0], [4.5, 3.5]):
        metrics = MetricsWriter(tmp_path / "run", tmp_path / "logs", NO_STEP, board="run")
        for step, loss in enumerate(losses):
            metrics.row(MetricsRow(step=step, loss=loss))
        metrics.close()
    assert shown(tmp_path, "loss/train") == [(0, 4.5), (1, 3.5)]
    assert [row["step"] for row in rows(tmp_path / "logs")] == ["0", "1"]


def test_tensorboard_has_all_that_the_metrics_have(tmp_path):
    """Another run began it, in whose own file the earlier steps are; or the file was deleted."""
    pytest.importorskip("tensorboard")
    metrics = MetricsWriter(tmp_path / "run", tmp_path / "logs", NO_STEP, board="before")
    for step in (1, 2):
        metrics.row(MetricsRow(step=step, loss=4.0 / step))
    metrics.sample(Sample(2, "The", " end"))
    metrics.close()

    record = metrics.record()
    for place in ("other", "other"):  # resumed once more, it has the file
        metrics = MetricsWriter(tmp_path / place, tmp_path / "logs", 2, board="on", record=record)
        metrics.row(MetricsRow(step=3, loss=0.5))
        metrics.close()
    assert shown(tmp_path, "loss/train", "on") == [(1, 4.0), (2, 2.0), (3, 0.5)]


def test_tensorboard_files_are_not_named_by_the_host(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(socket, "gethostname", lambda: "dear-alices-laptop")
    metrics = MetricsWriter(tmp_path / "run", tmp_path / "logs", 0, board="run")
    metrics.row(MetricsRow(step=3, loss=1.5))
    metrics.close()
    assert socket.gethostname() == "dear-alices-laptop"
    (written,) = (tmp_path / "logs/runs/run").glob("events.out.tfevents.*")
    assert "alice" not in written.name
    assert b"alice" not in written.read_bytes()


def lines(tmp_path, *rows):
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return read_metrics(path)


def line(step, loss="2.5", seconds=1):
    values = {"step": step, "tokens": step * 10, "loss": loss, "seconds": seconds}
    return ",".join(str(values.get(name, "")) for name in COLUMNS)


def test_what_is_written_is_read(tmp_path):
    row = MetricsRow(step=3, tokens=300, epoch=0.5, loss=1.25, seconds=2.0, val_bpb=1.5)
    writer = MetricsWriter(tmp_path / "run", tmp_path / "logs", 0)
    writer.row(row)
    metrics = read_metrics(tmp_path / "logs/training_metrics.csv")
    assert tuple(metrics.columns) == COLUMNS
    for name in COLUMNS:
        value = getattr(row, name)
        assert metrics.last(name) == value, name


def test_a_sample_with_line_separators_of_its_own_is_one_line(tmp_path):
    writer = MetricsWriter(tmp_path / "run", tmp_path / "logs", 0)
    sample = Sample(2, "a\u2028b", "c\u2029d\u0085e\x0bf\x0cg\x1ch\ri")
    writer.sample(sample)
    assert read_samples(tmp_path / "logs/samples.jsonl") == [sample]


@pytest.mark.parametrize("expected", ["yes", ""], ids=["answer", "empty answer"])
def test_answers_are_written_with_the_expected_one(tmp_path, expected):
    writer = MetricsWriter(tmp_path / "run", tmp_path / "logs", 0, FINETUNING)
    sample = Sample(2, "ask", "no", expected)
    writer.sample(sample)
    assert read_samples(tmp_path / "logs/sft_samples.jsonl") == [sample]
    record = json.loads((tmp_path / "run/sft_samples.jsonl").read_text())
    assert record == {"step": 2, "prompt": "ask", "text": "no", "expected": expected}


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
    assert metrics.non_finite_losses() == 2, "an empty field isn't a loss that went wrong"
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


def test_damaged_samples_are_dropped_when_a_run_resumes(tmp_path):
    run, logs = tmp_path / "run", tmp_path / "logs"
    MetricsWriter(run, logs, 0).sample(Sample(1, "a", "b"))
    with open(run / "samples.jsonl", "ab") as file:
        file.write(b'{"step": [], "prompt": "a", "text": "b"}\n{"step": 1, "pro}\n{"st')
    MetricsWriter(run, logs, 1)
    assert (logs / "samples.jsonl").read_text() == '{"step": 1, "prompt": "a", "text": "b"}\n'
