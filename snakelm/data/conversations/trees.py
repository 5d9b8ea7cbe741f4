"""Open Assistant's trees: a row is one message and names the message it answers; a conversation is
a path from a root.

One path of each tree is taken: at every message the answer that people ranked best (the lowest
`rank`, the first row where ranks are missing or equal). With every leaf as a conversation of its
own, a tree's first question would be taught as often as it was answered, and the worst-ranked
answers as well as the best.

A tree's messages may be anywhere in their file, so a file's ids, parents, texts and roles are in
memory at once.
"""

from collections.abc import Iterable, Iterator
from math import inf

from .chat_template import Message
from .fields import Rejected, check_turn
from .formats import Messages, Row, checked
from .turns import ROLE_NAMES, message

__all__ = ["TREE_COLUMNS", "TREE_MAY", "Trees", "is_tree"]

TREE_COLUMNS = ("message_id", "parent_id", "text", "role")
TREE_MAY = ("rank", "deleted")


class Trees:
    """The messages of one file, `add`ed row by row, and then its `conversations`."""

    def __init__(self) -> None:
        self._roots: list[str] = []
        self._answers: dict[str, list[tuple[float, str]]] = {}  # id → (rank, id) of each answer
        self._messages: dict[str, Message] = {}

    def add(self, row: Row) -> None:
        """One message; `Rejected` when it can't be part of a tree."""
        name, parent, rank = row.get("message_id"), row.get("parent_id"), row.get("rank")
        if name is None or row.get("role") is None:
            raise Rejected("null field")
        if row.get("deleted"):
            raise Rejected("deleted message")
        if name in self._messages:
            raise Rejected("message id seen before")

        role = ROLE_NAMES.get(str(row["role"]).strip().lower())
        if role is None:
            raise Rejected("unknown role")

        check_turn(row)
        self._messages[name] = message(row, role, row.get("text"))
        if parent is None:
            self._roots.append(name)
        else:
            self._answers.setdefault(parent, []).append((inf if rank is None else rank, name))

    def conversations(self) -> Iterator[Messages | str]:
        """The best-ranked path of each tree, in the order of the roots; the reason where that is
        not a conversation.
        """
        for root in self._roots:
            try:
                yield checked(list(self._path(root)))
            except Rejected as reason:
                yield str(reason)

    def unreached(self) -> int:
        """Messages that no root leads to: their parent is missing or deleted, or they answer each
        other in a ring.
        """
        reached, waiting = 0, list(self._roots)
        while waiting:
            reached += 1
            waiting += [name for _, name in self._answers.get(waiting.pop(), ())]
        return len(self._messages) - reached

    def _path(self, name: str | None) -> Iterator[Message]:
        while name is not None:
            yield self._messages[name]
            answers = self._answers.get(name)
            name = min(answers, key=lambda answer: answer[0])[1] if answers else None


def is_tree(columns: Iterable[str]) -> bool:
    """Whether rows with these columns are messages of trees."""
    return set(TREE_COLUMNS) <= set(columns)
