"""pandas stays out until someone asks for it; Arrow is told how long to keep what was freed."""

import os
import subprocess
import sys

import pytest

CALLS = """
import sys
from snakelm import parquet
import numpy as np, pyarrow as pa, pyarrow.compute as pc
numbers = pa.array([1, 2])
assert numbers.to_numpy().tolist() == [1, 2]
assert pa.chunked_array([pa.array(np.arange(2)), numbers]).to_numpy().size == 4
assert np.asarray(pa.array(["a"])).tolist() == ["a"]
assert numbers.is_null().to_numpy(zero_copy_only=False).sum() == 0
assert pc.fill_null(pa.scalar(1), 0).as_py() == 1
assert pa.Table.from_pylist([{"a": 1}]).num_rows == 1
assert not [name for name in sys.modules if name.startswith("pandas")]
"""


def test_arrow_arrays_come_and_go_without_pandas():
    pytest.importorskip("pandas", reason="pandas isn't installed: nothing could import it")
    wanted = "assert numbers.to_pandas().tolist() == [1, 2]\nassert 'pandas' in sys.modules\n"
    done = subprocess.run(
        [sys.executable, "-c", CALLS + wanted], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("own", "told"), [({}, "1000"), ({"MIMALLOC_PURGE_DELAY": "10"}, "10")], ids=["ours", "theirs"]
)
def test_arrow_keeps_what_was_freed_as_long_as_a_slice_takes_unless_told_otherwise(own, told):
    environment = {k: v for k, v in os.environ.items() if k != "MIMALLOC_PURGE_DELAY"} | own
    program = "import snakelm.parquet, os; print(os.environ['MIMALLOC_PURGE_DELAY'])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == told
