"""The chat template: how a conversation becomes tokens, and which of them the model learns to
produce.

    <|endoftext|> <|system|>Be brief.<|end|> <|user|>Two and two?<|end|> <|assistant|>Four.<|end|>

The spaces between turns are for the eye; there are none. Every marker is one special token, set
here by its id, while a content goes through `encode_ordinary`, which never produces a special
token: a user who writes `<|end|>` writes seven ordinary characters. So what stands between two
markers is what was said, and no text can pass for another role's.

Learned are the assistant's contents and the end token after each, because that is what the model
has to produce by itself; its role token isn't, because the prompt sets that (`prompt`). A turn
whose ``learned`` says no is read only, its end token too.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

from ...errors import UserError
from ...tokenizer.special import ASSISTANT, CHAT, END, EOT, SYSTEM, USER
from .jinja_template import JINJA

if TYPE_CHECKING:
    from ...tokenizer import Tokenizer

__all__ = ["JINJA", "ROLES", "Message", "chat_tokens", "prompt", "render", "render_batch"]


class Message(TypedDict):
    """A turn: role is system, user or assistant. ``learned``: whether an assistant's content is,
    which it is unless that says no.
    """

    role: str
    content: str
    learned: NotRequired[bool]


ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}


def chat_tokens(tokenizer: "Tokenizer") -> dict[str, int]:
    """Ids of the end-of-text and the chat tokens by name; UserError when the tokenizer lacks
    one.
    """
    missing = [name for name in (EOT, *CHAT) if name not in tokenizer.special_tokens]
    if missing:
        raise UserError(
            f"tokenizer {tokenizer.sha256[:12]}…: has no {', '.join(missing)}, which "
            "conversations are written with; run train_tokenizer again (a tokenizer made before "
            "chat tokens has none)"
        )
    return {name: tokenizer.special_tokens[name] for name in (EOT, *CHAT)}


def render(messages: Sequence[Message], tokenizer: "Tokenizer") -> tuple[np.ndarray, np.ndarray]:
    """A conversation as ids (uint32 [n]) and which of them are to be predicted (bool [n])."""
    ids, mask, _ = render_batch([messages], tokenizer)
    return ids, mask


def render_batch(
    conversations: Sequence[Sequence[Message]], tokenizer: "Tokenizer", threads: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Conversations end to end: ids uint32 [total], mask bool [total], starts of the conversations
    int64 [conversations + 1].

    ``threads``: for the encoding of all contents at once; the ids don't depend on it.
    """
    special = chat_tokens(tokenizer)
    turns = [message for messages in conversations for message in messages]
    turns_of = np.array([len(messages) for messages in conversations], np.int64)
    roles = np.array([special[_marker(message["role"])] for message in turns], np.uint32)

    contents, offsets = tokenizer.encode_batch(
        [message["content"] for message in turns], threads=threads
    )
    lengths = np.diff(offsets)

    # In front of turn t stand the contents of the turns before it, two markers for each of those,
    # and the end-of-text tokens up to its own conversation's.
    conversation = np.repeat(np.arange(turns_of.size), turns_of)  # of each turn
    role_at = offsets[:-1] + 2 * np.arange(len(turns)) + conversation + 1
    end_at = role_at + lengths + 1
    content_at = np.arange(contents.size) + np.repeat(role_at + 1 - offsets[:-1], lengths)

    # Filled with end-of-text tokens, of which those in front of conversations are left.
    ids = np.full(contents.size + 2 * len(turns) + turns_of.size, special[EOT], np.uint32)
    ids[role_at] = roles
    ids[end_at] = special[END]
    ids[content_at] = contents

    mask = np.zeros(ids.size, bool)
    learned = (roles == special[ASSISTANT]) & np.array(
        [message.get("learned", True) for message in turns], bool
    )
    mask[end_at[learned]] = True
    mask[content_at[np.repeat(learned, lengths)]] = True

    turns_before = np.concatenate([[0], np.cumsum(turns_of)])
    starts = offsets[turns_before] + 2 * turns_before + np.arange(turns_of.size + 1)
    return ids, mask, starts


def prompt(messages: Sequence[Message], tokenizer: "Tokenizer") -> list[int]:
    """The ids to generate an answer from: the conversation so far and the assistant's role
    token.
    """
    ids, _ = render(messages, tokenizer)
    return [*ids.tolist(), tokenizer.special_tokens[ASSISTANT]]


def _marker(role: str) -> str:
    if role not in ROLES:
        raise UserError(f"role {role!r}: unknown; roles are {', '.join(ROLES)}")
    return ROLES[role]
