"""Tables of a run as HTML: each a single file with its style inside, no script, nothing fetched."""
