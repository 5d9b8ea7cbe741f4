"""The tokenizer, deduplication and the operators' kernels under the address, undefined-behaviour
and thread sanitizers, fed random and damaged input.
"""

import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "text": [
        *("hash.cpp", "unicode.cpp", "vocabulary.cpp", "bpe.cpp", "batch.cpp", "trainer.cpp"),
        *("piece_counts.cpp", "word_corpus.cpp"),
        *("merge_table.cpp", "pieces.cpp", "split_kernel.cpp", "table.cpp", "word_cache.cpp"),
        *("spans.cpp", "word_kernel.cpp", "crc32.cpp"),
    ],
    "dedup": ["normal_form.cpp", "shingles.cpp", "minhash.cpp", "minhash_kernel.cpp"],
    "ops/attention": ["attention_cpu.cpp", "attention_kernel.cpp"],
    "ops/linear_cross_entropy": ["linear_cross_entropy_cpu.cpp", "linear_cross_entropy_kernel.cpp"],
    "ops": [
        f"{name}/{name}_{part}.cpp"
        for name in (
            *("rms_norm", "qk_norm_rope", "rope", "swiglu"),
            *("adamw_step", "muon_step", "orthogonalize", "products", "total_norm"),
            "weight_gradients",
        )
        for part in ("cpu", "kernel")
    ],
}
SLOW = ("ops", "ops/linear_cross_entropy")
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16"]
AMX = [*AVX512, "-mamx-tile", "-mamx-bf16"]
KERNEL_FLAGS = {"portable": [], "avx2": AVX2}
TEXT_FLAGS = {"portable": [], "avx2": AVX2, "avx512": AVX512[:-1]}
# The operators compile slowly: in minutes for all vector widths, in seconds for one.
NARROW_FLAGS: dict[str, list[str]] = {"portable": []}
WIDE_FLAGS = {**KERNEL_FLAGS, "avx512bf16": AVX512}
AMX_FLAGS = {"portable": [], "amx": AMX}
LEVELS = {"text": TEXT_FLAGS, **dict.fromkeys(SLOW, NARROW_FLAGS)}
COMPILER = shlex.split(os.environ.get("CXX") or shutil.which("c++") or "")


def build(
    folder: Path, part: str, sanitizers: str, levels: dict[str, list[str]] | None = None
) -> Path:
    """The fuzzer of csrc/<part>, its kernels once for each instruction set."""
    levels = levels or LEVELS.get(part, KERNEL_FLAGS)
    if not COMPILER:
        pytest.skip("no C++ compiler")
    flags = ["-std=c++20", "-O1", "-g", "-pthread", f"-I{ROOT}/csrc"]
    flags += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    trial = folder / "trial.cpp"
    trial.write_text("int main() {}\n")
    if subprocess.run(
        [*COMPILER, *flags, trial, "-o", folder / "trial"], capture_output=True
    ).returncode:
        pytest.skip(f"{COMPILER[0]} has no sanitizers ({sanitizers})")

    inputs = [ROOT / "csrc/common/isa.cpp", Path(__file__).parent / part / "fuzz.cpp"]
    for source in (ROOT / "csrc" / part / name for name in SOURCES[part]):
        inputs += kernel_objects(folder, source, levels, flags) if is_kernel(source) else [source]
    subprocess.run([*COMPILER, *flags, *inputs, "-o", folder / "fuzz"], check=True)
    return folder / "fuzz"


def is_kernel(source: Path) -> bool:
    return source.stem.endswith("_kernel")


def kernel_objects(
    folder: Path, source: Path, levels: dict[str, list[str]], flags: list[str]
) -> list[Path]:
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    objects = []
    for isa in levels if x86 else ["portable"]:
        objects.append(folder / f"{source.stem}.{isa}.o")
        level = [f"-DSNAKELM_ISA={isa}", *levels[isa]]
        subprocess.run(
            [*COMPILER, *flags, *level, "-c", source, "-o", objects[-1]],
            check=True,
        )
    return objects


def fuzz(program: Path, seed: int, seconds: float) -> None:
    done = subprocess.run([program, str(seed), str(seconds)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout.split()[0]) >= 1


@pytest.mark.parametrize("part", SOURCES)
def test_every_source_is_fuzzed(part):
    """One fuzzer has all pointwise operators; those with products have their own."""
    folder = ROOT / "csrc" / part
    others = [f"{ROOT}/csrc/{other}/" for other in SOURCES if other.startswith(f"{part}/")]
    found = {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*.cpp")
        if not str(file).startswith(tuple(others))
    }
    assert found - {"binding.cpp"} == {*SOURCES[part]}


@pytest.mark.parametrize("part", SOURCES)
def test_random_bytes_under_address_and_undefined_sanitizers(tmp_path, part):
    fuzz(build(tmp_path, part, "address,undefined"), seed=1, seconds=3)


def test_batches_on_threads_under_the_thread_sanitizer(tmp_path):
    """The others' threads have their turn in the long test below."""
    fuzz(build(tmp_path, "text", "thread"), seed=2, seconds=3)


def skip_without_amx() -> None:
    info = Path("/proc/cpuinfo")
    if not info.exists() or "amx_bf16" not in info.read_text():
        pytest.skip("this CPU has no AMX")
    command = [*COMPILER, *AMX, "-fsyntax-only", "-xc++", os.devnull]
    if not COMPILER or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no compiler here that knows AMX")


@pytest.mark.long
@pytest.mark.parametrize("part", SOURCES)
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_random_bytes_for_minutes(tmp_path, sanitizers, part):
    """Six minutes in all: pytest -m long tests/csrc/test_sanitizers.py"""
    program = build(tmp_path, part, sanitizers, WIDE_FLAGS if part.startswith("ops") else None)
    for seed in range(4):
        fuzz(program, seed=100 + seed, seconds=15)


@pytest.mark.long
@pytest.mark.parametrize("part", ["ops/attention", "ops/linear_cross_entropy"])
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_random_bytes_on_tiles_for_minutes(tmp_path, sanitizers, part):
    """pytest -m long tests/csrc/test_sanitizers.py"""
    skip_without_amx()
    program = build(tmp_path, part, sanitizers, AMX_FLAGS)
    for seed in range(4):
        fuzz(program, seed=200 + seed, seconds=15)
