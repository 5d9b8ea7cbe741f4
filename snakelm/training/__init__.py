"""Training: batches, optimizer, checkpoints, evaluation and the loop that ties them (run.py)."""
