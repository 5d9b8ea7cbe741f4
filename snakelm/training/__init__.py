"""Training: batches, optimizer, checkpoints, evaluation and the loop that ties them (loop.py)."""
