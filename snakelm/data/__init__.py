"""From text to token files: corpora, users' files, documents, tokens, conversations.

Nothing in here imports torch.
"""
