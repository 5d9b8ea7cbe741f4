"""What a finished model is asked: the loss of every held-out token, and tasks with items of a
person's own.

Everything is computed in float32, as the exported model computes: nothing here depends on what the
model was trained in. What comes out is numbers as JSON, drawn by snakelm.analysis, which needs no
torch.
"""
