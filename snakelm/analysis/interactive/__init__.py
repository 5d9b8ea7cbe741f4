"""Pages with a script of their own: single files, nothing fetched, and no script runs but the ones
that were meant.
"""
