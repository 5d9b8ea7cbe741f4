"""Where text comes from when it is not a person's own: docstrings, generators, addresses."""
