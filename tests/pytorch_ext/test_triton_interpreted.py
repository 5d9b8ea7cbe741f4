"""Starts the tests of Triton kernels under its interpreter: tests/pytorch_ext/interpreted, and the
transforms of the operators with the kernels in them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests/pytorch_ext"
FILES = sorted(file.name for file in (ROOT / HERE / "interpreted").glob("test_*.py"))

pytest.importorskip("triton", reason="triton is for Linux (requirements.txt)")


def interpret(*arguments: str) -> None:
    """pytest under the interpreter; where it collects no test it returns 5."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES)
def test_quick(file):
    interpret(f"{HERE}/interpreted/{file}")


def test_transforms():
    """The simplest pass: what stands around the kernels is the same for all."""
    interpret(f"{HERE}/test_transforms.py", "-k", "triton and swiglu")


@pytest.mark.long
def test_transforms_of_all():
    """pytest -m long tests/pytorch_ext/test_triton_interpreted.py"""
    interpret(f"{HERE}/test_transforms.py", "-k", "triton")


@pytest.mark.long
@pytest.mark.parametrize("file", FILES)
def test_grid(file):
    """As above: all small sizes."""
    interpret(f"{HERE}/interpreted/{file}", "-m", "long")
