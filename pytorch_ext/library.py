"""Opens the compiled operators, pytorch_ext/_C.abi3.so, where they are built; nothing here
computes.
"""

from pathlib import Path

import torch

LIBRARY = Path(__file__).with_name("_C.abi3.so")
REMEDY = "run `python setup.py build_ext --inplace`, or pass backend='reference'"


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


# Found out once, at import: torch.compile must not meet these calls.
LOADED = load()
HAS_CUDA = bool(LOADED and torch.ops.pytorch_ext.has_cuda())
# Instruction sets, as indices into dispatch.LEVELS: a CPU that has one has all before it.
LEVELS_HERE = tuple(range(torch.ops.pytorch_ext.isa_level(-1) + 1)) if LOADED else ()
