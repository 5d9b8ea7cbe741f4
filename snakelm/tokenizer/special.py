"""Names of the special tokens. Their ids are never produced from text, so no document and no user
can forge them.

The chat tokens are in every tokenizer we make, so that the base model and the tuned one share a
vocabulary; pretraining never sees them.
"""

__all__ = ["ASSISTANT", "CHAT", "END", "EOT", "SYSTEM", "USER"]

EOT = "<|endoftext|>"
SYSTEM, USER, ASSISTANT, END = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
CHAT = (SYSTEM, USER, ASSISTANT, END)
