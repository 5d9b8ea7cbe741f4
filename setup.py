"""Build the compiled core with ninja: `snakelm._text` and `snakelm._dedup` (pybind11, no torch) and
`pytorch_ext._C` (torch's stable ABI).

Why not torch.utils.cpp_extension: CUDAExtension refuses a CPU-only torch, and neither it nor
setuptools compiles one source several times, which run-time dispatch over instruction sets needs.
So this file writes one build.ninja and runs it: unchanged sources are not compiled again, and a
touched header recompiles what includes it.

A kernel, csrc/**/<name>_kernel.cpp, is compiled once for every instruction set that KERNELS lists
for it, into <name>_kernel.<set>.o; csrc/common/isa.h says how the dispatcher finds them. Everything
else is compiled once, for any CPU.

    python setup.py build_ext --inplace [-j N]        pip install --no-build-isolation -e .
    pip install ./operators                           the operators alone: docs/OPERATORS.md

Environment: CXX (compiler), MAX_JOBS (parallel compilations), SNAKELM_CUDA=0 (leave CUDA out) or 1
(insist on it), SNAKELM_TORCH=0 (an env without torch: no operators).
"""

import fcntl
import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# operators/setup.py is a link to this file: the sources are the checkout's, the project is the
# folder of the link, with the packages that it has.
PROJECT = Path(__file__).absolute().parent
ROOT = Path(__file__).resolve().parent
# The stable ABI of torch 2.11: one binary serves 2.11 and later.
TORCH_TARGET = "0x020B000000000000"
OLDEST_TORCH = (2, 11)
CXX_FLAGS = "-std=c++20 -O3 -fPIC -fvisibility=hidden -Wall -Wextra -Wno-unknown-pragmas -pthread"

# Flags of an instruction set (snakelm::Isa); nothing but a kernel compiled for it may assume one.
# GCC 12 takes the undefined vectors inside its own AVX-512 headers for our mistake: no warning
# about those.
AVX2 = "-mavx2 -mfma -mf16c"
AVX512 = (
    f"{AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -Wno-maybe-uninitialized -Wno-uninitialized"
)
ISA_FLAGS = {
    "portable": "",
    "avx2": AVX2,
    "avx512": AVX512,
    "avx512bf16": f"{AVX512} -mavx512bf16",
    "amx": f"{AVX512} -mavx512bf16 -mamx-tile -mamx-bf16",
}
# Sets that a compiler may be too old for: a kernel does without, and the set below runs.
OPTIONAL_ISAS = ("amx",)
# Without tiles: kernels that have no product in them.
VECTORS = tuple(isa for isa in ISA_FLAGS if isa != "amx")
# Which instruction sets a kernel is compiled for. The CPU's best among them runs.
KERNELS = {
    "csrc/dedup/minhash_kernel.cpp": ("portable", "avx2"),
    "csrc/ops/adamw_step/adamw_step_kernel.cpp": VECTORS,
    "csrc/ops/attention/attention_kernel.cpp": tuple(ISA_FLAGS),
    "csrc/ops/linear_cross_entropy/linear_cross_entropy_kernel.cpp": tuple(ISA_FLAGS),
    "csrc/ops/muon_step/muon_step_kernel.cpp": VECTORS,
    "csrc/ops/orthogonalize/orthogonalize_kernel.cpp": tuple(ISA_FLAGS),
    "csrc/ops/products/products_kernel.cpp": ("portable", "avx2", "avx512"),
    "csrc/ops/qk_norm_rope/qk_norm_rope_kernel.cpp": VECTORS,
    "csrc/ops/rms_norm/rms_norm_kernel.cpp": VECTORS,
    "csrc/ops/rope/rope_kernel.cpp": VECTORS,
    "csrc/ops/swiglu/swiglu_kernel.cpp": VECTORS,
    "csrc/ops/total_norm/total_norm_kernel.cpp": VECTORS,
    "csrc/ops/weight_gradients/weight_gradients_kernel.cpp": tuple(ISA_FLAGS),
    # Without one a text is split by scanners that any CPU runs, and words are hashed one by one.
    "csrc/text/split_kernel.cpp": ("avx2", "avx512"),
    "csrc/text/word_kernel.cpp": ("avx512",),
}

# sm_80 (A100 and later), sm_90a (Hopper's own instructions), and PTX for what comes after. What
# ptxas says of registers and spills stays beside the object, for tests/csrc/test_cuda.py.
NVCC_FLAGS = (
    "-std=c++17 -O3 -cudart static -Xcompiler -fPIC,-fvisibility=hidden -Xptxas -v "
    "-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a "
    "-gencode arch=compute_80,code=compute_80"
)


def fail(message: str) -> NoReturn:
    """Stop with one line: a missing tool is the user's to install, and a traceback would hide
    which.
    """
    raise SystemExit(f"setup.py: {message}")


def find_compiler() -> str:
    for name in filter(None, (os.environ.get("CXX"), "g++", "c++", "clang++")):
        if shutil.which(shlex.split(name)[0]):
            return name
    fail(
        "no C++ compiler found (looked for $CXX, g++, c++, clang++); install one, e.g. "
        "`apt-get install g++`"
    )


def find_ninja() -> str:
    beside = Path(sys.executable).with_name("ninja")
    ninja = str(beside) if beside.exists() else shutil.which("ninja")
    return ninja or fail("ninja not found; install it: `python -m pip install ninja`")


def find_torch() -> Path:
    """The folder of the installed torch, found without the seconds that importing it costs."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        fail("torch is not installed in this Python; `python -m pip install torch==2.13.0` first")
    version = importlib.metadata.version("torch")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_TORCH:
        fail(
            f"torch {version} found, 2.11 or later expected; `python -m pip install torch==2.13.0`"
        )
    return Path(spec.submodule_search_locations[0])


def python_include(build: Path) -> str:
    """Compiler flags that find Python.h, which pybind11 needs.

    A bare Debian or Ubuntu has python3 without its headers. The same version's are then taken out
    of the distribution's own package into the build folder: that needs no root and installs
    nothing.
    """
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").exists():
        unpacked = (
            debian_headers(build) if sys.base_prefix == "/usr" and shutil.which("apt-get") else None
        )
        if unpacked is None:
            fail(
                f"{include}/Python.h is missing; install Python's headers, e.g. "
                "`apt-get install python3-dev`"
            )
        return f"-isystem {unpacked / include.name} -isystem {unpacked}"
    return f"-isystem {include}"


def debian_headers(build: Path) -> Path | None:
    """usr/include of libpython3.x-dev, unpacked below the build folder; None when apt cannot fetch
    it.
    """
    package = f"libpython{sys.version_info[0]}.{sys.version_info[1]}-dev"
    folder = build / package
    if not (folder / "usr/include").exists():
        print(
            f"setup.py: Python.h is not installed, taking it from Debian's {package} into {folder}"
        )
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True)
        archives = sorted(folder.glob("*.deb"))
        if not archives or subprocess.run(["dpkg-deb", "-x", archives[-1], folder]).returncode:
            return None
    return folder / "usr/include"


def find_cuda() -> tuple[str, Path] | None:
    """(nvcc, toolkit folder), or None with a line that says why. nvcc may be a wrapper, so ask it
    where it lives.
    """
    setting = os.environ.get("SNAKELM_CUDA", "")
    if setting == "0":
        print("setup.py: SNAKELM_CUDA=0, CUDA kernels are left out")
        return None
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc:
        dry = subprocess.run(
            [nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True
        )
        top = re.search(r"^#\$ TOP=(.+)$", dry.stderr, re.MULTILINE)
        if top:
            return nvcc, Path(top[1].strip()).resolve()
    problem = f"{nvcc} does not answer --dryrun" if nvcc else "nvcc not found"
    if setting == "1":
        fail(f"SNAKELM_CUDA=1, but {problem}; install the CUDA toolkit and put nvcc on PATH")
    print(f"setup.py: {problem}, CUDA kernels are left out")
    return None


def is_x86() -> bool:
    return platform.machine().lower() in {"x86_64", "amd64"}


def sources(pattern: str) -> list[Path]:
    """Sorted files below ROOT that are compiled once, for any CPU: those of `pattern` that are no
    kernels.
    """
    return sorted(p for p in ROOT.glob(pattern) if not p.stem.endswith("_kernel"))


@functools.cache
def compiler_knows(compiler: str, isa: str) -> bool:
    """Does the compiler take an instruction set's flags? Said once where it doesn't."""
    command = [*shlex.split(compiler), *ISA_FLAGS[isa].split(), "-fsyntax-only", "-xc++", "-"]
    if subprocess.run(command, input="", capture_output=True, text=True).returncode == 0:
        return True
    print(f"setup.py: {compiler} does not know the instruction set {isa}, it is left out")
    return False


def kernels(pattern: str) -> list[tuple[Path, str]]:
    """(source, instruction set) of every kernel of `pattern`, without x86's sets elsewhere."""
    files = sorted(ROOT.glob(pattern))
    for file in files:
        if str(file.relative_to(ROOT)) not in KERNELS:
            fail(f"{file.relative_to(ROOT)} has no instruction sets; list them in KERNELS")
    return [
        (file, isa)
        for file in files
        for isa in KERNELS[str(file.relative_to(ROOT))]
        if isa == "portable" or is_x86()
        if isa not in OPTIONAL_ISAS or compiler_knows(find_compiler(), isa)
    ]


class Ninja:
    """One build.ninja: compile edges with dependency files, then one link edge an extension."""

    RULES = """\
rule cxx
  command = $cxx -MD -MF $out.d $flags -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = C++ $in $isa
rule cuda
  command = $nvcc -MD -MF $out.d $flags -c $in -o $out >$out.log 2>&1; status=$$?; $
      grep -vE '^ptxas info|^ +[0-9]+ bytes' $out.log; exit $$status
  depfile = $out.d
  deps = gcc
  description = CUDA $in
rule link
  command = $cxx -shared -pthread $in -o $out $flags
  description = LINK $out
"""

    def __init__(self, folder: Path, compiler: str, nvcc: str | None):
        self.folder = folder
        self.lines = [f"cxx = {compiler}", f"nvcc = {nvcc or 'nvcc'}", self.RULES]

    def compile(self, source: Path, flags: str) -> Path:
        rule = "cuda" if source.suffix == ".cu" else "cxx"
        target = self.folder / f"{source.relative_to(ROOT)}.o"
        self._edge(target, rule, [source], flags=flags)
        return target

    def compile_kernel(self, source: Path, isa: str, flags: str) -> Path:
        target = self.folder / f"{source.relative_to(ROOT).with_suffix('')}.{isa}.o"
        flags = f"{flags} -DSNAKELM_ISA={isa} {ISA_FLAGS[isa]}"
        self._edge(target, "cxx", [source], flags=flags.strip(), isa=isa)
        return target

    def compile_folder(self, folder: str, flags: str) -> list[Path]:
        """Objects of the C++ in one folder, its kernels included. csrc/common is linked into every
        extension.
        """
        return [
            *(self.compile(source, flags) for source in sources(f"{folder}/*.cpp")),
            *(
                self.compile_kernel(source, isa, flags)
                for source, isa in kernels(f"{folder}/*_kernel.cpp")
            ),
        ]

    def link(self, target: Path, objects: list[Path], flags: str) -> None:
        self._edge(target, "link", objects, flags=flags)

    def _edge(self, target: Path, rule: str, inputs: list[Path], **variables: str) -> None:
        def quote(path: Path) -> str:
            return re.sub(r"([$ :])", r"$\1", str(path))

        edge = f"build {quote(target)}: {rule} {' '.join(map(quote, inputs))}\n" + "".join(
            f"  {name} = {value.replace('$', '$$')}\n" for name, value in variables.items()
        )
        if edge not in self.lines:  # csrc/common is compiled once for all extensions
            self.lines.append(edge)

    def run(self, jobs: int) -> None:
        script = self.folder / "build.ninja"
        text = "\n".join(self.lines)
        if not script.exists() or script.read_text() != text:
            script.write_text(text)
        result = subprocess.run([find_ninja(), "-f", str(script), "-j", str(jobs)], cwd=self.folder)
        if result.returncode:
            fail(
                "compilation failed, the compiler's message is above "
                "(SNAKELM_CUDA=0 leaves the CUDA kernels out)"
            )


class NinjaBuild(build_ext):
    """setuptools asks for extensions, ninja makes them; where they go (in place, wheel, editable)
    is setuptools'.
    """

    def finalize_options(self):
        super().finalize_options()
        if os.environ.get("SNAKELM_TORCH") == "0":
            print("setup.py: SNAKELM_TORCH=0, pytorch_ext._C is left out")
            self.extensions = [e for e in self.extensions if e.name != "pytorch_ext._C"]

    def build_extensions(self):
        # Not setuptools' temporary folder: pip deletes that one, and the next build would start
        # from nothing.
        folder = ROOT / "build" / f"native-{sys.implementation.cache_tag}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("a") as lock:  # two builds of one checkout wait for each other
            fcntl.flock(lock, fcntl.LOCK_EX)
            built = {
                e.name: folder / Path(self.get_ext_filename(e.name)).name for e in self.extensions
            }
            cuda = find_cuda() if "pytorch_ext._C" in built else None
            ninja = Ninja(folder, find_compiler(), cuda and cuda[0])
            for name, target in built.items():
                if name == "pytorch_ext._C":
                    add_operators(ninja, target, cuda)
                else:
                    add_python_module(ninja, target, f"csrc/{name.partition('._')[2]}")
            ninja.run(int(self.parallel or os.environ.get("MAX_JOBS") or os.cpu_count() or 1))
            for name, target in built.items():
                install(target, Path(self.get_ext_fullpath(name)))

    def copy_extensions_to_source(self):
        """setuptools would write over a library that another process has mapped; see install."""
        build_py = self.get_finalized_command("build_py")
        for extension in self.extensions:
            in_place, built = self._get_inplace_equivalent(build_py, extension)
            install(Path(built), Path(in_place))


def install(made: Path, target: Path) -> None:
    """Put a library in place by rename: a process that has the old one mapped keeps it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.stat().st_mtime_ns == made.stat().st_mtime_ns:
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(made, partial)
    os.replace(partial, target)


def add_python_module(ninja: Ninja, target: Path, folder: str) -> None:
    """A module of csrc/<folder> whose binding.cpp uses pybind11."""
    import pybind11

    common = f"{CXX_FLAGS} -I{ROOT}/csrc"
    python = f"-isystem {pybind11.get_include()} {python_include(ninja.folder)}"
    objects = ninja.compile_folder(folder, f"{common} {python}")
    ninja.link(target, [*objects, *ninja.compile_folder("csrc/common", common)], "")


def add_operators(ninja: Ninja, target: Path, cuda: tuple[str, Path] | None) -> None:
    torch = find_torch()
    common = f"{CXX_FLAGS} -I{ROOT}/csrc"
    # Python.h is optional here: torch.ops.load_library needs no module, it only makes `import
    # pytorch_ext._C` work.
    binding = (
        f"{common} -I{ROOT} -DTORCH_TARGET_VERSION={TORCH_TARGET}ULL -isystem {torch}/include "
        f"-isystem {sysconfig.get_path('include')}{' -DSNAKELM_WITH_CUDA' if cuda else ''}"
    )
    objects = ninja.compile_folder("pytorch_ext", binding)
    objects += ninja.compile_folder("pytorch_ext/ops/*", binding)
    objects += ninja.compile_folder("csrc/ops/*", common)
    objects += ninja.compile_folder("csrc/common", common)

    # No run path: `import torch` has loaded these by the time our library is opened. libtorch
    # itself, though nothing in it is named: a CUDA build's pulls in libtorch_cuda, which knows the
    # stream.
    libraries = f"-L{torch}/lib -Wl,--no-as-needed -ltorch -Wl,--as-needed -ltorch_cpu -lc10"
    if cuda:
        objects += [
            ninja.compile(source, f"{NVCC_FLAGS} -I{ROOT}/csrc")
            for source in sources("csrc/ops/*/*_cuda.cu")
        ]
        # Static: the library then loads where there is no CUDA at all; a launch returns an error.
        libraries += f" -L{cuda[1]}/lib64 -L{cuda[1]}/lib -lcudart_static -ldl -lrt"
    ninja.link(target, objects, libraries)


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


EXTENSIONS = [
    Extension("snakelm._text", relative(sources("csrc/text/*.cpp"))),
    Extension("snakelm._dedup", relative(sources("csrc/dedup/*.cpp"))),
    Extension("pytorch_ext._C", relative(sources("pytorch_ext/*.cpp")), py_limited_api=True),
]
present = [e for e in EXTENSIONS if (PROJECT / e.name.partition(".")[0]).is_dir()]
# A wheel of nothing but the operators serves every Python from 3.11 on.
any_python = all(e.py_limited_api for e in present)

setup(
    ext_modules=present,
    cmdclass={"build_ext": NinjaBuild},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if any_python else {},
)
