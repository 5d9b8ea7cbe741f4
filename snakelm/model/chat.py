"""A conversation with a tuned model: the history as the template writes it, answers piece by piece.

When the history grows beyond the context the oldest turns go, a question with its answer at a time and the system
message never, until an answer has room. Sliding the window over the ids instead would cut the template's first
markers off, and the model would see something that it never saw in training.
"""

import codecs
from collections.abc import Iterator

from ..data import chat
from ..errors import UserError
from ..tokenizer import Tokenizer
from .decoder import Decoder
from .generate import stream

__all__ = ["Chat", "Continuation", "spoken"]


class Chat:
    """The history so far; ``sampling`` goes to `generate.stream`.

    ``dropped``: turns that went to make room for the last answer; ``cut``: whether that ended for lack of room.
    """

    def __init__(
        self, model: Decoder, tokenizer: Tokenizer, *, system: str | None = None, most_tokens: int = 128, seed: int = 0,
        **sampling: float | int | None,
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.most_tokens, self.seed = model, tokenizer, most_tokens, seed
        self.special = chat.chat_tokens(tokenizer)
        self.sampling = sampling
        self.system = [{"role": "system", "content": system}] if system else []
        self.reset()

    def reset(self) -> None:
        """Forgets all but the system message."""
        self.turns: list[chat.Message] = []
        self.answers, self.dropped, self.cut = 0, 0, False

    def answer(self, question: str) -> Iterator[str]:
        """The model's answer in pieces of whole characters; what of it was given when iteration ends is remembered.

        UserError at once, and the history as it was, for a question that leaves no room for an answer.
        """
        prompt = self._make_room([*self.turns, {"role": "user", "content": question}])
        self.cut = False
        return self._say(prompt, min(self.most_tokens, self.model.shape.context - len(prompt)))

    def _say(self, prompt: list[int], room: int) -> Iterator[str]:
        said, seed, ends = [], self.seed + self.answers, set(self.special.values())
        ids = stream(self.model, prompt, room, stop=ends, seed=seed, **self.sampling)
        try:
            yield from spoken(self.tokenizer, (said.append(i) or i for i in ids))
            self.cut = len(said) == room
        finally:
            self.answers += 1
            self.turns.append({"role": "assistant", "content": self.tokenizer.decode(said)})

    def _make_room(self, turns: list[chat.Message]) -> list[int]:
        """Takes ``turns`` without the oldest that don't fit as the history; gives the prompt they make."""
        context, dropped = self.model.shape.context, 0
        most = context - min(self.most_tokens, context // 4)
        while len(prompt := chat.prompt([*self.system, *turns], self.tokenizer)) > most:
            if len(turns) == 1:
                raise UserError(
                    f"your message: {len(prompt)} tokens with the system message, the model takes {most} and keeps "
                    f"{context - most} of its {context} for the answer; say it in fewer words"
                )
            turns, dropped = turns[2:], dropped + 2
        self.turns, self.dropped = turns, dropped
        return prompt


def spoken(tokenizer: Tokenizer, ids: Iterator[int]) -> Iterator[str]:
    """Text as soon as its characters are whole: a token may end inside one."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for i in ids:
        if text := decoder.decode(tokenizer.decode_bytes([i])):
            yield text
    if rest := decoder.decode(b"", final=True):
        yield rest


class Continuation:
    """A base model's like of `Chat`: goes on with each text by itself, remembers none."""

    dropped = 0

    def __init__(
        self, model: Decoder, tokenizer: Tokenizer, *, most_tokens: int = 128, seed: int = 0,
        **sampling: float | int | None,
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.most_tokens, self.seed = model, tokenizer, most_tokens, seed
        self.sampling, self.cut = sampling, False

    def reset(self) -> None:
        """Nothing to forget."""

    def answer(self, text: str) -> Iterator[str]:
        """How the model goes on, in pieces of whole characters; until the text ends or ``most_tokens`` are said."""
        prompt = [self.tokenizer.eot, *self.tokenizer.encode_ordinary(text)]
        ends = {self.tokenizer.eot}
        ids = stream(self.model, prompt, self.most_tokens, stop=ends, seed=self.seed, **self.sampling)
        yield from spoken(self.tokenizer, ids)
