"""The academic filter: a sentence model tuned on a few labels (SetFit), and a fast student that
learns from it.

Modules that need the packages of requirements-filter.txt import them inside functions or are
imported by their step alone: with `filter: none` nothing of it is loaded or installed.
"""
