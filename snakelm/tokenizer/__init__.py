"""Byte-level BPE: text to token ids and back, and the training of the merges.

    tokenizer = Tokenizer.load("results/tokenizer")
    ids = tokenizer.encode_ordinary("snakes and ladders")
    assert tokenizer.decode(ids) == "snakes and ladders"

Decisions
- Ids are exactly tiktoken 0.14's for the same ranks and split pattern. The core is C++ (csrc/text)
  with hand-written splitters for the named patterns, because a regular-expression engine is most of
  a tokenizer's time.
- The end-of-text token is added by whoever lays out documents. Its name in a text is ordinary text.
- A tokenizer is identified by `sha256` over ranks, pattern and special tokens; token files record
  it.
"""

from .extension import extend_vocabulary
from .special import CHAT, EOT
from .tokenizer import Tokenizer
from .training import train_bpe

__all__ = ["CHAT", "EOT", "Tokenizer", "extend_vocabulary", "train_bpe"]
