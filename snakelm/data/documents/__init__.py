"""Documents between steps: one parquet schema, sampling, deduplication, quality,
decontamination.
"""

from .table import *  # noqa: F403
