"""The text core under the address, undefined-behaviour and thread sanitizers, fed random and
damaged bytes.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CORE = [
    "unicode.cpp",
    "vocabulary.cpp",
    "bpe.cpp",
    "trainer.cpp",
    "shingles.cpp",
    "minhash.cpp",
    "minhash_avx2.cpp",
]
COMPILER = os.environ.get("CXX") or shutil.which("c++")


def build(folder: Path, sanitizers: str) -> Path:
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    flags = [
        "-std=c++17",
        "-O1",
        "-g",
        "-pthread",
        f"-fsanitize={sanitizers}",
        "-fno-sanitize-recover=all",
    ]
    trial = folder / "trial.cpp"
    trial.write_text("int main() {}\n")
    if subprocess.run(
        [COMPILER, *flags, trial, "-o", folder / "trial"], capture_output=True
    ).returncode:
        pytest.skip(f"{COMPILER} has no sanitizers ({sanitizers})")
    core = ROOT / "csrc/text"
    sources = [core / name for name in CORE] + [Path(__file__).with_name("fuzz.cpp")]
    subprocess.run([COMPILER, *flags, f"-I{core}", *sources, "-o", folder / "fuzz"], check=True)
    return folder / "fuzz"


def fuzz(program: Path, seed: int, seconds: float) -> None:
    done = subprocess.run([program, str(seed), str(seconds)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout.split()[0]) >= 1


def test_every_source_of_the_core_is_fuzzed():
    assert {file.name for file in (ROOT / "csrc/text").glob("*.cpp")} == {*CORE, "binding.cpp"}


def test_random_bytes_under_address_and_undefined_sanitizers(tmp_path):
    fuzz(build(tmp_path, "address,undefined"), seed=1, seconds=4)


@pytest.mark.long
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_random_bytes_for_minutes(tmp_path, sanitizers):
    """Four minutes in all: pytest -m long tests/csrc/text/test_sanitizers.py"""
    program = build(tmp_path, sanitizers)
    for seed in range(4):
        fuzz(program, seed=100 + seed, seconds=30)
