"""Small parts of training: lock, metrics, signals, steps that go wrong, device, exit codes of many
processes.
"""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from snakelm.config import Train, load_config
from snakelm.errors import UserError
from snakelm.training import device
from snakelm.training.launch import _exit_code
from snakelm.training.metrics import COLUMNS, Metrics
from snakelm.training.plan import check_attention, check_sizes, make_plan
from snakelm.training.progress import Best, done_line, note
from snakelm.training.step import StepResult, check_skips
from snakelm.workflow.lock import locked
from snakelm.workflow.signals import StopRequest

CPU = device.Place(torch.device("cpu"), torch.float32, 1)


def test_a_second_trainer_is_told_who_has_the_folder(tmp_path):
    again = (
        "from snakelm.workflow.lock import locked\n"
        f"from pathlib import Path\nwith locked(Path({str(tmp_path)!r})): print('in')"
    )
    with locked(tmp_path):
        ran = subprocess.run(
            [sys.executable, "-c", again], capture_output=True, text=True, check=False
        )
        assert f"held by another training run (process {os.getpid()})" in ran.stderr
    assert (
        subprocess.run(
            [sys.executable, "-c", again], capture_output=True, text=True, check=True
        ).stdout
        == "in\n"
    )


def rows(folder):
    with open(folder / "training_metrics.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_of_a_resumed_run_hold_each_step_once(tmp_path):
    run, logs = tmp_path / "run", tmp_path / "logs"
    first = Metrics(run, logs, 0, board=False)
    for step in (1, 2, 3):
        first.row(step=step, loss=step / 2)
        first.sample(step, "a", "é\nb")
    with open(run / "training_metrics.csv", "a") as file:
        file.write("4,9")  # killed in the middle of a line
    (logs / "training_metrics.csv").unlink()  # as Snakemake does
    again = Metrics(run, logs, 2, board=False)
    again.row(step=3, loss=1.25, val_bpb=2.0)
    assert [(r["step"], r["loss"], r["val_bpb"]) for r in rows(logs)] == [
        ("1", "0.5", ""),
        ("2", "1", ""),
        ("3", "1.25", "2"),
    ]
    assert rows(run) == rows(logs)
    assert tuple(rows(logs)[0]) == COLUMNS
    samples = (logs / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(s)["step"] for s in samples] == [1, 2]


def test_tensorboard_files_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = Metrics(tmp_path / "run", tmp_path / "logs", 0)
    metrics.row(step=3, loss=1.5, val_bpb=2.5)
    metrics.close()
    events = EventAccumulator(str(tmp_path / "logs/runs/run")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("bpb/val")] == [(3, 2.5)]


@pytest.fixture
def interruptible():
    """Python's own handler of SIGINT, which a shell takes away from what it starts in the
    background.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_first_signal_asks_and_second_acts():
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def result(skipped):
    return StepResult(
        loss=float("nan") if skipped else 1.0, grad_norm=1.0, lr=0.1, stop=False, skipped=skipped
    )


def test_a_loss_that_is_no_number_stops_by_default():
    with pytest.raises(UserError, match=r"step 7: loss or gradient is no number"):
        check_skips(result(True), 7, 0, Train())


def test_at_most_three_steps_in_a_row_are_skipped():
    train, in_a_row = Train(on_nan="skip"), 0
    for _ in range(3):
        in_a_row = check_skips(result(True), 7, in_a_row, train)
    assert check_skips(result(False), 8, in_a_row, train) == 0
    with pytest.raises(UserError, match="4 steps in a row"):
        check_skips(result(True), 8, in_a_row, train)


@pytest.mark.parametrize(
    ("most", "began", "free", "processes", "expected"),
    [
        (None, None, 8, 1, 8),
        (4, None, 8, 1, 4),
        (None, None, 8, 4, 2),
        (None, 2, 8, 1, 2),
        (8, 2, 1, 1, 2),
        (1, 2, 8, 1, 1),
    ],
    ids=["all_free", "at_most", "shared", "as_begun", "as_begun_though_busy", "fewer_on_wish"],
)
def test_threads(monkeypatch, most, began, free, processes, expected):
    monkeypatch.setattr(device, "free_cores", lambda: free)
    warnings = []
    assert device.choose_threads(most, began, processes, warnings.append) == expected
    assert bool(warnings) == (began is not None and expected != began)


def test_free_cores_are_some_and_not_more_than_allowed():
    assert 1 <= device.free_cores(0.05) <= len(os.sched_getaffinity(0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_said():
    with pytest.raises(UserError, match=r"train\.device: cuda is not available"):
        device.choose_place(Train(device="cuda"), 1)


def test_a_missing_attention_kernel_is_said():
    with pytest.raises(UserError, match=r"train\.attention"):
        check_attention(CPU, "cuda")


def test_preflight_refuses_what_cannot_work(make_bin):
    train = make_bin([300] * 10)
    with pytest.raises(UserError, match="made for 50 tokens, the tokenizer has 60"):
        check_sizes(train, 60, 2048, 256, 1)
    with pytest.raises(UserError, match=r"train\.batch_tokens"):
        check_sizes(train, 50, 2048, 256, 3)
    check_sizes(train, 50, 2048, 256, 2)


def test_preflight_is_a_line_of_what_the_run_takes():
    plan = make_plan(load_config().model, 50, 1_500_000, 1.5, 8, CPU, 1e9, 1)
    assert plan.words().startswith("PREFLIGHT ")
    assert "1.5M tokens (1.50 epochs)" in plan.words()
    assert "an estimate" in plan.words()


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([0, 0], 0), ([3, 3], 3), ([1, -15], 1), ([-9, -15], 1), ([2, 3], 2), ([-9, 3], 1)],
    ids=str,
)
def test_one_exit_code_for_many_processes(codes, expected):
    assert _exit_code(codes) == expected


def test_lines_a_person_sees():
    row = dict.fromkeys(COLUMNS, 0.5) | {"step": 10, "tokens": 20_000, "tokens_per_second": 4000.0}
    best = Best()
    assert "val bpb" not in note(row, best)
    best.see(1.5, 10)
    best.see(1.75, 20)
    assert "val bpb 1.750 (best 1.500 @10)" in note(row, best)
    baseline = {"ppmd": {"bpb": 1.1, "bpb_clean": 1.5}}
    line = done_line({"val_bpb": 1.25, "val_bpb_clean": 1.5, "seconds": 221.0}, baseline, "out.pt")
    said, _, following = line.partition(" · next: ")
    assert (
        said
        == "DONE val bpb 1.250 (clean 1.500; primed compressor 1.100, clean 1.500) · 3m41s · out.pt"
    )
    assert following.startswith("snakemake")
    blank = {"val_bpb": 1.25, "val_bpb_clean": None, "seconds": 1.0}
    assert done_line(blank, None, "o").startswith("DONE val bpb 1.250 · 0m01s · o · next: ")


def test_allocator_settings_reach_the_process_once(tmp_path):
    script = tmp_path / "again.py"
    script.write_text(
        "import os, sys\n"
        "from snakelm.training.launch import ENVIRONMENT, restart_with_environment\n"
        "print('pass', flush=True)\n"
        "restart_with_environment(sys.argv)\n"
        "print(all(os.environ[k] == v for k, v in ENVIRONMENT.items()))\n"
    )
    environment = {
        **{k: v for k, v in os.environ.items() if "MALLOC" not in k},
        "PYTHONPATH": os.getcwd(),
    }
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, env=environment
    )
    assert ran.stdout.split() == ["pass", "pass", "True"]
