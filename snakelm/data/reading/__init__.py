"""Users' files read as documents: parquet, JSON lines, plain text, and what is checked before."""
