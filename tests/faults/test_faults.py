"""Every campaign: a sample of its faults here, all of them behind the mark `long`.

`python -m tests.faults --whole` prints the table.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.campaigns import CAMPAIGNS, trials
from tests.faults.table import Table, Trial, try_all

ROOT = Path(__file__).resolve().parents[2]
FORKS = {"steps"}  # from a process that no other test has started threads in


@pytest.mark.parametrize(
    "whole", [False, pytest.param(True, marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
    ids=["sample", "whole"],
)  # fmt: skip
@pytest.mark.parametrize("name", CAMPAIGNS)
def test_the_project_holds(name, whole, tmp_path):
    if name in FORKS:
        flags = ["--whole"] if whole else []
        command = [sys.executable, "-m", "tests.faults", name, *flags]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return
    table = try_all(trials(name, tmp_path, whole=whole))
    assert table.rows
    assert not table.short, f"{table}\n" + "\n".join(table.short)


def test_a_trial_that_goes_wrong_or_raises_fell_short():
    def raises():
        raise KeyError("lost")

    table = try_all(
        [
            Trial("cut", "a", lambda: ""),
            Trial("cut", "b", lambda: "silent"),
            Trial("flip", "c", raises),
        ]
    )
    assert isinstance(table, Table)
    assert table.short == ["cut: b: silent", "flip: c: KeyError: 'lost'"]
    assert [line.split()[-3:] for line in str(table).splitlines()[1:]] == [
        ["2", "1", "1"],
        ["1", "0", "1"],
        ["3", "1", "2"],
    ]
