"""What a signal does to a step, in processes of their own: how it ends, with which code and words,
and what it leaves.
"""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from snakelm.log import Log
from snakelm.workflow import signals, slurm
from snakelm.workflow.code_digest import ROOT
from snakelm.workflow.signals import TIME_LIMIT, StopRequest

# A step that has begun a file; the signals of a test come one after the other.
STEP = """
    import sys, time
    from snakelm.files import atomic_path
    from snakelm.workflow.exit_codes import exit_code

    def main():
        with atomic_path(sys.argv[1]) as path:
            try:
                path.write_text("half")
                print("ready", flush=True)
                time.sleep(60)
            finally:
                print("ends", flush=True)
                time.sleep(float(sys.argv[2]))  # here the second signal comes

    sys.exit(exit_code(main))
"""
STARTING = """
    import sys, time
    from pathlib import Path
    from snakelm import starting

    starting.SCRIPTS = Path(__file__).parent  # as if this were one of ours
    starting.answer_signals()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def interruptible():
    """Python's own handler of SIGINT, which a shell takes away from what it starts in the
    background.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def start(tmp_path, interruptible):
    """Starts code as a script and waits for its word."""
    started = []

    def run(code, *arguments):
        script = tmp_path / "step.py"
        script.write_text(textwrap.dedent(code))
        process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


@pytest.mark.parametrize("number", CODES, ids=lambda n: n.name)
def test_a_signal_ends_a_step_in_a_line_with_its_own_code_and_nothing_half_written(
    start, tmp_path, number
):
    process = start(STEP, tmp_path / "made", 0.2)
    process.send_signal(number)
    assert process.stdout.readline() == "ends\n"
    process.send_signal(signal.SIGTERM)  # as Slurm does; once it has begun to end it goes on
    process.send_signal(signal.SIGHUP)
    if number != signal.SIGINT:
        process.send_signal(signal.SIGINT)  # the first one of its kind: it asks, too
    _, said = process.communicate(timeout=60)
    assert process.returncode == CODES[number], said
    assert said.count("\n") == 1
    assert "nothing half-written is left; the same command starts this step again" in said
    assert [path.name for path in tmp_path.iterdir()] == ["step.py"]


def test_only_a_second_interrupt_ends_at_once(start, tmp_path):
    process = start(STEP, tmp_path / "made", 60)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "ends\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, signals.AT_ONCE)
    assert time.monotonic() - begun < 50, "it didn't wait for the step to tidy up"


@pytest.mark.parametrize("number", CODES, ids=lambda n: n.name)
def test_a_signal_during_imports_has_words_and_a_code_and_no_traceback(start, number):
    process = start(STARTING)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == CODES[number]
    assert (
        said == f"{number.name} while starting: nothing was written; run the same command again\n"
    )


def test_who_imports_the_library_keeps_the_handlers():
    assert not any(signals.is_answered(number) for number in signals.SIGNALS)


@pytest.mark.usefixtures("interruptible")
def test_any_number_of_signals_ask_once_and_a_second_interrupt_acts():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert not stop.requested
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_is_ignored_from_the_start_stays_ignored(interruptible):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)  # as under nohup
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


class Job:
    """A Slurm job as a step sees it: a number, and a scontrol that notes what it is asked."""

    def __init__(self, folder, monkeypatch, code=0):
        self.run_root, self.asked = folder / "checkpoints", folder / "asked"
        (self.run_root / "run").mkdir(parents=True)
        program = folder / "bin" / "scontrol"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho "$@" >> {self.asked}\necho no >&2\nexit {code}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        monkeypatch.setattr(signals, "_seen", signals.Counter())
        self.before = slurm.checkpoints(self.run_root)

    def is_warned(self):
        with StopRequest() as stop:
            os.kill(os.getpid(), TIME_LIMIT)
            assert stop.requested

    def saves(self):
        (self.run_root / "run" / "step_00000001.pt").touch()

    def ends(self):
        with Log("train") as log:
            slurm.requeue(self.run_root, self.before, log)
        return self.asked.read_text() if self.asked.exists() else ""


def test_a_job_whose_time_is_up_queues_itself_again(tmp_path, monkeypatch, capsys):
    job = Job(tmp_path, monkeypatch)
    job.is_warned()
    job.saves()
    assert job.ends() == "requeue 17\n"
    assert "queued again under the same number" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["warning", "checkpoint", "Slurm"])
def test_no_other_end_queues_a_job_again(tmp_path, monkeypatch, capsys, missing):
    """Neither scancel's SIGTERM, nor a time too short to get anywhere."""
    job = Job(tmp_path, monkeypatch)
    if missing == "Slurm":
        monkeypatch.delenv("SLURM_JOB_ID")
    if missing != "warning":
        job.is_warned()
    if missing != "checkpoint":
        job.saves()
    assert job.ends() == ""
    assert ("too short for a step" in capsys.readouterr().err) == (missing == "checkpoint")


def test_a_cluster_that_refuses_is_quoted(tmp_path, monkeypatch, capsys):
    job = Job(tmp_path, monkeypatch, code=1)
    job.is_warned()
    job.saves()
    job.ends()
    assert "saved, but not queued again: no" in capsys.readouterr().err
