"""A conversation with a tuned model: the history as the template writes it, answers piece by piece.

When the history grows beyond the context the oldest turns go, a question with its answer at a time
and the system message never, until an answer has room. Sliding the window over the ids instead
would cut the template's first markers off, and the model would see something that it never saw in
training.
"""

import codecs
from collections.abc import Iterable, Iterator, Sequence

from ..data.conversations import chat_template
from ..errors import UserError
from ..tokenizer import Tokenizer
from .decoder import Decoder
from .generate import stream
from .kv_cache import Cache

__all__ = ["Chat", "Continuation", "Speaker", "spoken", "until"]


class Speaker:
    """What says something with a model, and what of it is told: the common half of `Chat` and
    `Continuation`.

    ``stop``: texts that end an answer and aren't given; ``cache``: one to go on with, else a new
    one; ``sampling`` goes to `generate.stream`. Of the answer at hand or the last one: ``asked``
    and ``said``, the ids of both sides; ``cut``, whether it ended for lack of room; ``dropped``,
    the turns that went to make room for it.
    """

    def __init__(
        self, model: Decoder, tokenizer: Tokenizer, *, most_tokens: int = 128, seed: int = 0, stop: Sequence[str] = (),
        cache: Cache | None = None, **sampling: float | int | None,
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.most_tokens, self.seed = (
            model,
            tokenizer,
            most_tokens,
            seed,
        )
        self.stop, self.cache, self.sampling = tuple(stop), cache or Cache(model), sampling
        self.asked: list[int] = []
        self.said: list[int] = []
        self.cut, self.dropped = False, 0

    def _speak(self, prompt: list[int], room: int, ends: Iterable[int], seed: int) -> Iterator[str]:
        self.asked, self.said, self.cut = prompt, [], False
        stop = {
            *ends,
            *self.tokenizer.unused_ids,
        }  # an id that stands for nothing has no text to go on with
        ids = stream(
            self.model, prompt, room, stop=stop, seed=seed, cache=self.cache, **self.sampling
        )
        noted = (self.said.append(i) or i for i in ids)
        yield from until(spoken(self.tokenizer, noted), self.stop)
        stopped = any(text in self.tokenizer.decode(self.said) for text in self.stop)
        self.cut = len(self.said) == room and not stopped


class Chat(Speaker):
    """The history so far, in ``turns``. ``system``: what the model is told first."""

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        system: str | None = None,
        **how: float | int | None,
    ) -> None:
        super().__init__(model, tokenizer, **how)
        self.special = chat_template.chat_tokens(tokenizer)
        self.system = [{"role": "system", "content": system}] if system else []
        self.reset()

    def reset(self) -> None:
        """Forgets all but the system message."""
        self.recall([])

    def recall(self, turns: Sequence[chat_template.Message]) -> None:
        """Goes on from ``turns``, questions and answers in turn, as if they had been said here."""
        self.turns, self.answers = list(turns), len(turns) // 2
        self.dropped, self.cut = 0, False

    def answer(self, question: str) -> Iterator[str]:
        """The model's answer in pieces of whole characters; what of it was given when iteration
        ends is remembered.

        UserError at once, and the history as it was, for a question that leaves no room for an
        answer.
        """
        prompt = self._make_room([*self.turns, {"role": "user", "content": question}])
        return self._say(prompt, min(self.most_tokens, self.model.shape.context - len(prompt)))

    def _say(self, prompt: list[int], room: int) -> Iterator[str]:
        given = []
        try:
            for piece in self._speak(prompt, room, self.special.values(), self.seed + self.answers):
                given.append(piece)
                yield piece
        finally:
            self.answers += 1
            self.turns.append({"role": "assistant", "content": "".join(given)})

    def _make_room(self, turns: list[chat_template.Message]) -> list[int]:
        """Takes ``turns`` without the oldest that don't fit as the history; gives the prompt they
        make.
        """
        context, dropped = self.model.shape.context, 0
        most = context - min(self.most_tokens, context // 4)
        while len(prompt := chat_template.prompt([*self.system, *turns], self.tokenizer)) > most:
            if len(turns) == 1:
                raise UserError(
                    f"your message: {len(prompt)} tokens with the system message, the model takes {most} and keeps "
                    f"{context - most} of its {context} for the answer; say it in fewer words"
                )
            turns, dropped = turns[2:], dropped + 2
        self.turns, self.dropped = turns, dropped
        return prompt


class Continuation(Speaker):
    """A base model's like of `Chat`: goes on with each text by itself, remembers none."""

    def reset(self) -> None:
        """Nothing to forget."""

    def answer(self, text: str) -> Iterator[str]:
        """How the model goes on, in pieces of whole characters; until the text ends or
        ``most_tokens`` are said.
        """
        prompt = [self.tokenizer.eot, *self.tokenizer.encode_ordinary(text)]
        return self._speak(prompt, self.most_tokens, [self.tokenizer.eot], self.seed)


def spoken(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """Text as soon as its characters are whole: a token may end inside one."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for i in ids:
        if text := decoder.decode(tokenizer.decode_bytes([i])):
            yield text
    if rest := decoder.decode(b"", final=True):
        yield rest


def until(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """Text up to the first of ``stops``; an end that one of them may begin with is held back until
    that is known.
    """
    held = ""
    for piece in pieces:
        held += piece
        found = [at for text in stops if (at := held.find(text)) >= 0]
        if found:
            if held[: min(found)]:
                yield held[: min(found)]
            return
        begun = max(
            (n for text in stops for n in range(1, len(text)) if held.endswith(text[:n])), default=0
        )
        whole, held = held[: len(held) - begun], held[len(held) - begun :]
        if whole:
            yield whole
    if held:
        yield held
