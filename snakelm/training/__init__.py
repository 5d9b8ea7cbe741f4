"""Pretraining: batches, optimizer, checkpoints, evaluation and the loop that ties them (trainer.py)."""
