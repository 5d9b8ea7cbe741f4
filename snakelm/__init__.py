"""From raw parquet to a pretrained small language model: the library behind the workflow's
scripts.
"""

__version__ = "0.1.0"
