"""What `make` says before it installs torch, with a pip that only notes what it is asked for."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLAIN, CUDA = '{"name": "numpy"}', '{"name": "nvidia-cublas-cu12"}'
PIP = """\
#!/bin/sh
echo "$@" >> {noted}
case "$*" in *--dry-run*) echo '{{"install": [{{"metadata": {offered}}}]}}';; esac
"""


@pytest.fixture
def install(tmp_path):
    """`make …/.installed` with such a pip and with or without a GPU: what it said, what pip was
    asked for.
    """
    (tmp_path / "bin").mkdir()
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/.created").touch()

    def make(*settings: str, offered: str, gpu: bool = False) -> tuple[str, list[str]]:
        noted = tmp_path / "noted"
        programs = {"venv/bin/pip": PIP.format(noted=noted, offered=offered)}
        programs["bin/nvidia-smi"] = f"#!/bin/sh\nexit {0 if gpu else 1}\n"
        for name, text in programs.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)

        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        venv = tmp_path / "venv"
        done = subprocess.run(
            ["make", "--no-print-directory", f"VENV={venv}", *settings, f"{venv}/.installed"],
            cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        asked = [line for line in noted.read_text().splitlines() if "--dry-run" not in line]
        return done.stderr, asked

    return make


def test_without_a_gpu_a_cuda_build_is_announced(install):
    said, _ = install(offered=CUDA)
    assert said.startswith("warning: no NVIDIA GPU here")
    assert "make TORCH_INDEX=URL model" in said


@pytest.mark.parametrize(
    ("offered", "gpu"), [(CUDA, True), (PLAIN, False)], ids=["a GPU", "a CPU build"]
)
def test_what_fits_the_machine_is_installed_without_a_word(install, offered, gpu):
    said, asked = install(offered=offered, gpu=gpu)
    assert said == ""
    assert "index-url" not in asked[0]


def test_torch_alone_comes_from_the_index_that_is_given(install):
    said, (torch, others) = install("TORCH_INDEX=file:///cpu", offered=CUDA)
    assert said == ""
    assert "--index-url file:///cpu torch==" in torch
    assert "index-url" not in others
