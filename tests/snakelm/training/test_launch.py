"""Processes that are started as one: their exit code, and the allocator's settings."""

import os
import subprocess
import sys

import pytest

from snakelm.training.launch import _exit_code


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([0, 0], 0), ([3, 3], 3), ([1, -15], 1), ([-9, -15], 1), ([2, 3], 2), ([-9, 3], 1)],
    ids=str,
)
def test_one_exit_code_for_many_processes(codes, expected):
    assert _exit_code(codes) == expected


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
