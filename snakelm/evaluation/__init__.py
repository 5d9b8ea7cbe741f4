"""What a finished model is worth: the loss of every held-out token, the user's own tasks, and what
both are held against; what the tokenizer makes of the text.

Models are measured in float32, as the exported model computes: nothing here depends on what the
model was trained in. What comes out is JSON of the types in `records` and
`loss_record`, drawn by snakelm.analysis, which needs no torch.
"""
