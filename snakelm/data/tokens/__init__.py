"""Documents to token files: tokenised in shards, put together, compared with what is held out."""
