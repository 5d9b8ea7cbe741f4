"""Documents to token files, in shards, and how much of the held-out text stands in training."""
