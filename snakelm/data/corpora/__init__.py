"""Corpora that need no files of the user's: docstrings, generated text, conversations."""
