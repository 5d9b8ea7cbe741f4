"""Documents as vectors, and the map of them: which documents, what reads them, where each one
lies.
"""
