"""The backends of an operator that has a kernel at every level, each where it runs."""

import pytest

from pytorch_ext import library
from pytorch_ext.dispatch import LEVELS


@pytest.fixture(params=["reference", *(f"cpu:{level}" for level in LEVELS)])
def backend(request):
    level = request.param.partition(":")[2]
    if level and not library.LOADED:
        pytest.skip(library.REMEDY)
    if level and LEVELS.index(level) not in library.LEVELS_HERE:
        pytest.skip(f"this CPU or build lacks {level}")
    return request.param
