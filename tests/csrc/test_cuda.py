"""What nvcc made of the CUDA kernels: nothing spilled, no advisory of ptxas, tensor cores in use.

Read from what the build left, the object and ptxas' words beside it: no GPU is needed.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "csrc/ops/attention"
OBJECT = (
    ROOT
    / f"build/native-{sys.implementation.cache_tag}"
    / (FOLDER / "attention_cuda.cu.o").relative_to(ROOT)
)
LOG = OBJECT.with_name(OBJECT.name + ".log")
REMEDY = "run `python setup.py build_ext --inplace` with nvcc on PATH"
MMA_KERNELS = ("forward_mma_kernel", "grad_q_mma_kernel", "grad_kv_mma_kernel")
INSTANCES = [
    f"{kernel}I{dtype}Li{dim}E"  # as their names are mangled
    for kernel in MMA_KERNELS
    for dtype in ("6__half", "13__nv_bfloat16")
    for dim in (32, 64, 96, 128)
]

pytestmark = pytest.mark.skipif(not LOG.exists(), reason=f"no CUDA kernels were built; {REMEDY}")


class Resources(NamedTuple):
    """What one kernel takes on one architecture."""

    spilled_bytes: int
    registers: int


@pytest.fixture(scope="module")
def said() -> str:
    """All that ptxas said of the present source."""
    sources = [*FOLDER.glob("*.cu*"), FOLDER / "attention.h", *ROOT.glob("csrc/common/*.cuh")]
    newest = max(sources, key=lambda file: file.stat().st_mtime)
    assert LOG.stat().st_mtime >= newest.stat().st_mtime, f"{newest} is newer; {REMEDY}"
    return LOG.read_text()


@pytest.fixture(scope="module")
def resources(said) -> dict[tuple[str, str], Resources]:
    """By architecture and mangled name."""
    entry = re.compile(
        r"Compiling entry function '(\w+)' for '(\w+)'.*?"
        r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
        re.DOTALL,
    )
    return {
        (match[2], match[1]): Resources(int(match[3]) + int(match[4]), int(match[5]))
        for match in entry.finditer(said)
    }


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("instance", INSTANCES)
def test_nothing_is_spilled(resources, architecture, instance):
    found = [
        r for (arch, name), r in resources.items() if arch == architecture and instance in name
    ]
    assert len(found) == 1, f"{instance} was not compiled once for {architecture}"
    assert found[0].spilled_bytes == 0, found
    # Two blocks of 128 threads share the 65,536 registers of a multiprocessor.
    assert found[0].registers <= 255


def test_ptxas_has_no_advisory(said):
    """C7508 and C7510: setmaxnreg ignored, wgmma serialised; and whatever else it would warn of."""
    assert not re.search(r"C75\d\d|warning|advisory", said, re.IGNORECASE)


def find_tool(name: str) -> str | None:
    """On PATH, in the CUDA toolkit, or as triton or NVIDIA's packages bring it."""
    places = ["/usr/local/cuda/bin"]
    for package, folder in (("triton", "backends/nvidia/bin"), ("nvidia", "cu13/bin")):
        spec = importlib.util.find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            places.append(f"{place}/{folder}")
    return shutil.which(name) or shutil.which(name, path=":".join(places))


def test_products_run_on_tensor_cores():
    """HMMA is a product on tensor cores, LDSM a load of matrices, LDGSTS a copy past registers."""
    cuobjdump, nvdisasm = find_tool("cuobjdump"), find_tool("nvdisasm")
    if not cuobjdump or not nvdisasm:
        pytest.skip("neither the toolkit nor triton brings cuobjdump and nvdisasm")
    path = f"{Path(nvdisasm).parent}:/usr/bin:/bin"
    listing = subprocess.run(
        [cuobjdump, "-sass", "-arch", "sm_80", OBJECT],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": path},
    ).stdout
    kernels = {part.split("\n", 1)[0]: part for part in listing.split("Function : ")[1:]}
    for instance in INSTANCES:
        (code,) = (code for name, code in kernels.items() if instance in name)
        for instruction in ("HMMA.16816.F32", "LDSM.16.M88.4", "LDSM.16.MT88.4", "LDGSTS"):
            assert instruction in code, f"{instance}: no {instruction}"
