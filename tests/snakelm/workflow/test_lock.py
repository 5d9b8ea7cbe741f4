"""One training run to a folder: the second one is refused, and the message names the first."""

import os
import re
import subprocess
import sys

from snakelm.workflow.lock import locked


def test_a_second_trainer_is_told_who_has_the_folder(tmp_path):
    again = (
        "from snakelm.workflow.lock import locked\n"
        f"from pathlib import Path\nwith locked(Path({str(tmp_path)!r})): print('in')"
    )
    with locked(tmp_path):
        ran = subprocess.run(
            [sys.executable, "-c", again], capture_output=True, text=True, check=False
        )
        who = rf"process {os.getpid()} on \S+, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
        assert re.search(rf"lock: held by another training run \({who}\); wait", ran.stderr)
    assert (
        subprocess.run(
            [sys.executable, "-c", again], capture_output=True, text=True, check=True
        ).stdout
        == "in\n"
    )
    assert (tmp_path / "lock").read_text() == ""
