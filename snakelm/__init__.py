"""From raw parquet to a pretrained small language model: the library behind the workflow's
scripts.
"""

import os

from .starting import answer_signals

__version__ = "0.1.0"

# Arrow's allocator gives memory back to the system 10 ms after it was freed. A step that reads a
# file slice by slice, and has to wait for a core now and then, had the system clear it anew for
# each. Read once, when pyarrow is loaded; in milliseconds.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "1000")

answer_signals()
