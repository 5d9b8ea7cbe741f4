"""Build the compiled core with ninja: `snakelm._text` (pybind11, no torch) and `pytorch_ext._C`
(torch's stable ABI).

Why not torch.utils.cpp_extension: CUDAExtension refuses a CPU-only torch, and neither it nor
setuptools knows flags per file, which run-time dispatch over instruction sets needs. So this file
writes one build.ninja and runs it: unchanged sources are not compiled again, a touched header
recompiles what includes it, and flags follow a file's name.

    python setup.py build_ext --inplace [-j N]        pip install --no-build-isolation -e .

Environment: CXX (compiler), MAX_JOBS (parallel compilations), SNAKELM_CUDA=0 (leave CUDA out) or 1
(insist on it), SNAKELM_TORCH=0 (an env without torch: only the tokenizer).
"""

import fcntl
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

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
TORCH_TARGET = (
    "0x020B000000000000"  # the stable ABI of torch 2.11: one binary serves 2.11 and later
)
OLDEST_TORCH = (2, 11)
CXX_FLAGS = "-std=c++20 -O3 -fPIC -fvisibility=hidden -Wall -Wextra -Wno-unknown-pragmas -pthread"
# A file's suffix names the instruction set it may use; nothing outside such a file may assume one.
# GCC 12 takes the undefined vectors inside its own AVX-512 headers for our mistake: no warning
# about those.
AVX512 = "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -Wno-maybe-uninitialized -Wno-uninitialized"
SUFFIX_FLAGS = {
    "_avx2": "-mavx2 -mfma -mf16c",
    "_avx512": AVX512,
    "_avx512bf16": f"{AVX512} -mavx512bf16",
    "_amx": f"{AVX512} -mavx512bf16 -mamx-tile -mamx-bf16",
}
# sm_80 (A100 and later), sm_90a (Hopper's own instructions), and PTX for what comes after.
NVCC_FLAGS = (
    "-std=c++17 -O3 -cudart static -Xcompiler -fPIC,-fvisibility=hidden "
    "-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a "
    "-gencode arch=compute_80,code=compute_80"
)


def fail(message: str):
    """Stop with one line: a missing tool is the person's to fix, and a traceback would hide
    which.
    """
    raise SystemExit(f"setup.py: {message}")


def find_compiler() -> str:
    for name in filter(None, (os.environ.get("CXX"), "g++", "c++", "clang++")):
        if shutil.which(shlex.split(name)[0]):
            return name
    fail(
        "no C++ compiler found (looked for $CXX, g++, c++, clang++); install one, e.g. `apt-get install g++`"
    )


def find_ninja() -> str:
    beside = Path(sys.executable).with_name("ninja")
    found = str(beside) if beside.exists() else shutil.which("ninja")
    return found or fail("ninja not found; install it: `python -m pip install ninja`")


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
                f"{include}/Python.h is missing; install Python's headers, e.g. `apt-get install python3-dev`"
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
        found = sorted(folder.glob("*.deb"))
        if not found or subprocess.run(["dpkg-deb", "-x", found[-1], folder]).returncode:
            return None
    return folder / "usr/include"


def find_cuda() -> tuple[str, Path] | None:
    """(nvcc, toolkit folder), or None, said in one line. nvcc may be a wrapper, so ask it where it
    lives.
    """
    wish = os.environ.get("SNAKELM_CUDA", "")
    if wish == "0":
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
    if wish == "1":
        fail(f"SNAKELM_CUDA=1, but {problem}; install the CUDA toolkit and put nvcc on PATH")
    print(f"setup.py: {problem}, CUDA kernels are left out")
    return None


def is_x86() -> bool:
    return platform.machine().lower() in {"x86_64", "amd64"}


def sources(*patterns: str) -> list[Path]:
    """Sorted sources below ROOT, without the x86 instruction-set files where the machine is not
    x86.
    """
    found = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    return [path for path in found if is_x86() or not path.stem.endswith(tuple(SUFFIX_FLAGS))]


def suffix_flags(source: Path) -> str:
    return next(
        (flags for suffix, flags in SUFFIX_FLAGS.items() if source.stem.endswith(suffix)), ""
    )


class Ninja:
    """One build.ninja: compile edges with dependency files, then one link edge an extension."""

    RULES = """\
rule cxx
  command = $cxx -MD -MF $out.d $flags -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = C++ $in
rule cuda
  command = $nvcc -MD -MF $out.d $flags -c $in -o $out
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
        self._edge(target, rule, [source], f"{flags} {suffix_flags(source)}".strip())
        return target

    def link(self, target: Path, objects: list[Path], flags: str) -> None:
        self._edge(target, "link", objects, flags)

    def _edge(self, target: Path, rule: str, inputs: list[Path], flags: str) -> None:
        def quote(path: Path) -> str:
            return re.sub(r"([$ :])", r"$\1", str(path))

        escaped = flags.replace("$", "$$")
        self.lines.append(
            f"build {quote(target)}: {rule} {' '.join(map(quote, inputs))}\n  flags = {escaped}\n"
        )

    def run(self, jobs: int) -> None:
        script = self.folder / "build.ninja"
        text = "\n".join(self.lines)
        if not script.exists() or script.read_text() != text:
            script.write_text(text)
        result = subprocess.run([find_ninja(), "-f", str(script), "-j", str(jobs)], cwd=self.folder)
        if result.returncode:
            fail(
                "compilation failed, the compiler's message is above (SNAKELM_CUDA=0 leaves the CUDA kernels out)"
            )


class NinjaBuild(build_ext):
    """setuptools asks for extensions, ninja makes them; where they go (in place, wheel, editable)
    is setuptools'.
    """

    def finalize_options(self):
        super().finalize_options()
        if not sources("csrc/text/*.cpp"):
            print("setup.py: csrc/text has no .cpp file, snakelm._text is left out")
            self.extensions = [
                extension for extension in self.extensions if extension.name != "snakelm._text"
            ]
        if os.environ.get("SNAKELM_TORCH") == "0":
            print("setup.py: SNAKELM_TORCH=0, pytorch_ext._C is left out")
            self.extensions = [
                extension for extension in self.extensions if extension.name != "pytorch_ext._C"
            ]

    def build_extensions(self):
        # Not setuptools' temporary folder: pip deletes that one, and the next build would start
        # from nothing.
        folder = ROOT / "build" / f"native-{sys.implementation.cache_tag}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:  # two builds of one checkout wait for each other
            fcntl.flock(lock, fcntl.LOCK_EX)
            cuda = find_cuda() if sources("csrc/ops/*/*_cuda.cu") else None
            ninja = Ninja(folder, find_compiler(), cuda and cuda[0])
            built = {}
            for extension in self.extensions:
                built[extension.name] = folder / Path(self.get_ext_filename(extension.name)).name
                add = add_text if extension.name == "snakelm._text" else add_ops
                add(ninja, built[extension.name], cuda)
            ninja.run(int(self.parallel or os.environ.get("MAX_JOBS") or os.cpu_count() or 1))
            for name, made in built.items():
                install(made, Path(self.get_ext_fullpath(name)))

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


def add_text(ninja: Ninja, target: Path, cuda: tuple[str, Path] | None) -> None:
    import pybind11

    flags = f"{CXX_FLAGS} -I{ROOT}/csrc -isystem {pybind11.get_include()} {python_include(ninja.folder)}"
    ninja.link(target, [ninja.compile(source, flags) for source in sources("csrc/text/*.cpp")], "")


def add_ops(ninja: Ninja, target: Path, cuda: tuple[str, Path] | None) -> None:
    torch = find_torch()
    flags = f"{CXX_FLAGS} -I{ROOT}/csrc"
    # Python.h is optional here: torch.ops.load_library needs no module, it only makes `import
    # pytorch_ext._C` work.
    binding = f"{flags} -DTORCH_TARGET_VERSION={TORCH_TARGET}ULL -isystem {torch}/include"
    binding += f" -isystem {sysconfig.get_path('include')}" + (
        " -DSNAKELM_WITH_CUDA" if cuda else ""
    )
    objects = [
        ninja.compile(source, binding)
        for source in sources("pytorch_ext/*.cpp", "pytorch_ext/ops/*/*.cpp")
    ]
    objects += [ninja.compile(source, flags) for source in sources("csrc/ops/*/*.cpp")]
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


setup(
    ext_modules=[
        Extension("snakelm._text", relative(sources("csrc/text/*.cpp"))),
        Extension("pytorch_ext._C", relative(sources("pytorch_ext/*.cpp")), py_limited_api=True),
    ],
    cmdclass={"build_ext": NinjaBuild},
)
