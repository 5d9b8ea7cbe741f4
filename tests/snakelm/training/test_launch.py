"""Processes that are started as one: their exit code, and the allocator's settings."""

import os
import subprocess
import sys

import pytest

from snakelm.training.launch import _exit_code


@pytest.mark.parametrize(
    ("codes", "stopped", "expected"),
    [
        ([0, 0], False, 0),
        ([3, 3], True, 3),
        ([1, -15], False, 1),
        ([-9, -15], False, 1),
        ([2, 3], False, 2),
        ([-9, 3], True, 1),
        ([143, 143], True, 3),  # signalled while they imported
        ([143, -15], True, 3),  # and before
        ([143, 0], False, 1),
        ([0, 0], True, 0),
    ],
    ids=str,
)
def test_one_exit_code_for_many_processes(codes, stopped, expected):
    assert _exit_code(codes, stopped) == expected


def test_allocator_settings_reach_the_process_once(tmp_path):
    script = tmp_path / "again.py"
    script.write_text(
        "import os, sys\n"
        "from snakelm.training.launch import ENVIRONMENT, restart_with_environment\n"
        "import signal\n"
        "print('pass', flush=True)\n"
        "restart_with_environment(sys.argv)\n"
        "assert not signal.pthread_sigmask(signal.SIG_BLOCK, []), 'signals wait no more'\n"
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


def test_a_signal_while_a_trainer_starts_itself_again_has_words_too():
    """Between the two processes it waits; none dies without a word."""
    code = (
        "import os, signal, sys\n"
        "from snakelm.training import launch\n"
        "again = os.execv\n"
        "def signalled(*command):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    again(*command)\n"
        "launch.os.execv = signalled\n"
        "launch.restart_with_environment(['scripts/training/train.py', '--help'])\n"
    )
    environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 129
    assert ran.stderr == (
        "SIGHUP while starting: nothing was written; run the same command again\n"
    )
