"""Opens the compiled operators, pytorch_ext/_C.abi3.so, where they are built; nothing here
computes.
"""

from importlib import metadata
from pathlib import Path

import torch

LIBRARY = Path(__file__).with_name("_C.abi3.so")
REMEDY = "run `python setup.py build_ext --inplace`, or pass backend='reference'"
# Either holds this package: pip lets one write over the other's files without a word.
DISTRIBUTIONS = ("snakelm", "snakelm-operators")


def check_owner() -> None:
    """ImportError where both distributions are installed in different versions: what is here is
    then a mixture. Equal versions have equal files.
    """
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if len(set(found.values())) > 1:
        both = " and ".join(f"{name} {version}" for name, version in found.items())
        raise ImportError(
            f"pytorch_ext belongs to both {both}, which wrote over each other; "
            "`pip uninstall` both and install one: snakelm has the operators too"
        )


def load() -> bool:
    """Register torch.ops.pytorch_ext.*; False when the library is not built. A library that does
    not open raises.
    """
    if not LIBRARY.exists():
        return False
    try:
        torch.ops.load_library(LIBRARY)
    except OSError as error:
        raise ImportError(
            f"{LIBRARY}: does not open ({error}); it was built for another machine or torch: "
            f"{REMEDY}"
        ) from error
    return True


check_owner()
# Found out once, at import: torch.compile must not meet these calls.
LOADED = load()
HAS_CUDA = bool(LOADED and torch.ops.pytorch_ext.has_cuda())
# Instruction sets, as indices into dispatch.LEVELS: a CPU that has one has all before it.
LEVELS_HERE = tuple(range(torch.ops.pytorch_ext.isa_level(-1) + 1)) if LOADED else ()
