"""Documents: read, sampled, deduplicated, split and written as token files. Nothing here imports
torch.
"""
