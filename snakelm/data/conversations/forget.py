"""Conversations and preferences that are to be forgotten are left out before tuning sees them.

A line of a list is the hash of what a conversation's id is of: roles and contents, as they were
read and before any turn was cut off. Rules look at each turn's content by itself. A pair of answers
is two conversations, and goes with either.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa

from ...config import Forget
from ...user_paths import expand
from ..documents.forget_list import HashList, matches, read_hashes
from ..split import document_ids
from .formats import Messages
from .token_store import conversation_bytes

__all__ = ["Forgetting"]


@dataclass
class Forgetting:
    """Lets pass what ``rules`` don't name. ``of``: conversations or preferences, each with a list
    of its own.
    """

    rules: Forget
    of: Literal["conversations", "preferences"] = "conversations"
    hashes: HashList = field(init=False)

    def __post_init__(self) -> None:
        lists = getattr(self.rules, self.of)
        key = f"forget.{self.of}"
        self.hashes = read_hashes(expand(lists, key), key) if lists else HashList()

    def kept(self, batch: list[Messages], source: str) -> list[Messages]:
        """The conversations of ``batch`` that stay; they are of the source of that path or name."""
        gone = self.gone(batch, source)
        return [one for one, out in zip(batch, gone, strict=True) if not out]

    def gone(self, batch: list[Messages], source: str) -> np.ndarray:
        """Which of them don't: bool [n]."""
        gone = np.zeros(len(batch), bool)
        if self.hashes.places:
            texts = list(map(conversation_bytes, batch))
            gone |= self.hashes.named(document_ids(texts), lambda: texts)
        gone |= matches(pa.array([source]), self.rules.origin)[0]
        if self.rules.text:
            turns = pa.array(
                [one["content"] for messages in batch for one in messages], pa.string()
            )
            owner = np.repeat(np.arange(len(batch)), list(map(len, batch)))
            gone[owner[matches(turns, self.rules.text)]] = True
        return gone

    def check(self, warn: Callable[[str], None]) -> None:
        """UserError or a warning, once all were read, for lines that named none."""
        self.hashes.check(f"forget.{self.of}", self.of[:-1], self.rules.missing, warn)
