"""From raw parquet to a pretrained small language model: the library behind the workflow's
scripts.
"""

from .starting import answer_signals

__version__ = "0.1.0"

answer_signals()
