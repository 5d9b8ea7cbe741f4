"""A conversation with a tuned model: the history in the chat template, answers piece by piece.

When the history outgrows the context, its oldest turns are dropped, a question together with its
answer and never the system message, until an answer has room. Sliding the window over the ids
instead would cut off the template's first markers, and the model would see something that it never
saw in training.
"""

import codecs
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, Unpack

from ..data.conversations import chat_template
from ..errors import UserError
from ..tokenizer import Tokenizer
from .decoder import Decoder
from .file import load_model
from .generate import stream
from .kv_cache import Cache

__all__ = [
    "Chat",
    "Continuation",
    "Responder",
    "ResponderOptions",
    "Sampling",
    "decode_stream",
    "load_responder",
    "until_stop",
]


class Sampling(TypedDict):
    """What of `generate.stream`'s settings a caller may choose; the rest keeps its defaults."""

    temperature: NotRequired[float]
    top_k: NotRequired[int | None]
    top_p: NotRequired[float]


class ResponderOptions(Sampling):
    """The keyword arguments of a `Responder`."""

    max_tokens: NotRequired[int]
    seed: NotRequired[int]
    stop: NotRequired[Sequence[str]]
    cache: NotRequired[Cache | None]


class Responder:
    """Makes text with a model: what `Chat` and `Continuation` have in common.

    ``stop``: texts that end an answer and aren't part of it. ``cache``: an existing one to reuse,
    else a new one. ``sampling`` goes to `generate.stream`.

    About the current or the last answer: ``prompt_ids`` and ``answer_ids``; ``truncated``, whether
    it ended for lack of room; ``dropped_turns``, how many turns were dropped to make room for it.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        max_tokens: int = 128,
        seed: int = 0,
        stop: Sequence[str] = (),
        cache: Cache | None = None,
        **sampling: Unpack[Sampling],
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_tokens, self.seed, self.stop = max_tokens, seed, tuple(stop)
        self.cache, self.sampling = cache or Cache(model), sampling

        self.prompt_ids: list[int] = []
        self.answer_ids: list[int] = []
        self.truncated, self.dropped_turns = False, 0

    def _generate(
        self, prompt: list[int], room: int, stop_ids: Iterable[int], seed: int
    ) -> Generator[str, None, None]:
        """Up to ``room`` tokens after ``prompt``, as text."""
        self.prompt_ids, self.answer_ids, self.truncated = prompt, [], False

        # An id that no token has (the vocabulary is padded) has no text to go on with.
        stop = {*stop_ids, *self.tokenizer.unused_ids}
        ids = stream(
            self.model, prompt, room, stop=stop, seed=seed, cache=self.cache, **self.sampling
        )

        yield from until_stop(decode_stream(self.tokenizer, self._recorded(ids)), self.stop)

        stopped = any(text in self.tokenizer.decode(self.answer_ids) for text in self.stop)
        self.truncated = len(self.answer_ids) == room and not stopped

    def _recorded(self, ids: Iterable[int]) -> Iterator[int]:
        for i in ids:
            self.answer_ids.append(i)
            yield i


class Chat(Responder):
    """A conversation; ``turns`` is its history. ``system``: instructions that precede it."""

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        system: str | None = None,
        **options: Unpack[ResponderOptions],
    ) -> None:
        super().__init__(model, tokenizer, **options)
        self.special = chat_template.chat_tokens(tokenizer)
        self.system = system
        self.reset()

    def reset(self) -> None:
        """Forgets everything but the system message."""
        self.restore([])

    def restore(self, turns: Sequence[chat_template.Message]) -> None:
        """Continues from ``turns``, questions and answers alternating, as if they had taken place
        here.
        """
        self.turns, self.answers = list(turns), len(turns) // 2
        self.dropped_turns, self.truncated = 0, False

    def answer(self, question: str) -> Generator[str, None, None]:
        """The model's answer in pieces of complete characters.

        When iteration ends, early or not, the pieces handed out so far are the answer that the
        history keeps. Raises UserError at once, and leaves the history as it was, when the question
        leaves no room for an answer.
        """
        prompt = self._make_room([*self.turns, {"role": "user", "content": question}])
        room = min(self.max_tokens, self.model.shape.context - len(prompt))
        return self._answer(prompt, room)

    def _answer(self, prompt: list[int], room: int) -> Generator[str, None, None]:
        pieces = []
        seed = self.seed + self.answers  # each answer draws its own numbers
        try:
            for piece in self._generate(prompt, room, self.special.values(), seed):
                pieces.append(piece)
                yield piece
        finally:
            self.answers += 1
            self.turns.append({"role": "assistant", "content": "".join(pieces)})

    def _make_room(self, turns: list[chat_template.Message]) -> list[int]:
        """The prompt for ``turns`` without the oldest that don't fit; the rest is the history."""
        system: list[chat_template.Message] = (
            [{"role": "system", "content": self.system}] if self.system else []
        )
        context = self.model.shape.context
        longest_prompt = context - min(self.max_tokens, context // 4)

        # From the newest turn back, so that nothing is encoded that can't be part of the prompt.
        kept = len(turns) - 1
        size = len(chat_template.prompt([*system, *turns[kept:]], self.tokenizer))
        if size > longest_prompt:
            raise UserError(
                f"your message: {size} tokens with the system message; the model takes "
                f"{longest_prompt} and keeps {context - longest_prompt} of its {context} for "
                "the answer; say it in fewer words"
            )
        while kept >= 2:
            pair = chat_template.prompt(turns[kept - 2 : kept], self.tokenizer)
            size += len(pair) - 2  # less the first marker and the last, which a prompt has once
            if size > longest_prompt:
                break
            kept -= 2

        self.turns, self.dropped_turns = turns[kept:], kept
        return chat_template.prompt([*system, *self.turns], self.tokenizer)


class Continuation(Responder):
    """`Chat`'s counterpart for a base model: continues each text by itself and remembers none."""

    def reset(self) -> None:
        """Nothing to forget."""

    def answer(self, text: str) -> Generator[str, None, None]:
        """The continuation in pieces of complete characters, to the end of the document or
        ``max_tokens``.
        """
        prompt = [self.tokenizer.eot, *self.tokenizer.encode_ordinary(text)]
        return self._generate(prompt, self.max_tokens, [self.tokenizer.eot], self.seed)


def load_responder(
    path: Path,
    tokenizer_folder: Path,
    *,
    base: bool = False,
    system: str | None = None,
    **options: Unpack[ResponderOptions],
) -> Chat | Continuation:
    """What answers with the model file ``path``: a Chat, or with ``base`` a Continuation.

    UserError for a model of another tokenizer, and for a Chat with a model that isn't tuned.
    """
    model, record = load_model(path)
    tokenizer = Tokenizer.load(tokenizer_folder)
    if record["tokenizer"]["sha256"] != tokenizer.sha256:
        raise UserError(
            f"{path}: trained with another tokenizer than this one; name its own with --tokenizer"
        )

    if base:
        return Continuation(model, tokenizer, **options)
    if not record.get("chat"):
        raise UserError(
            f"{path}: a base model, never tuned on conversations; tune it "
            "(snakemake --cores 8 results/sft_model.pt), or let it continue your text with --base"
        )
    return Chat(model, tokenizer, system=system, **options)


def decode_stream(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """Text as soon as its characters are complete: a token may end inside one."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for i in ids:
        if text := decoder.decode(tokenizer.decode_bytes([i])):
            yield text
    if rest := decoder.decode(b"", final=True):
        yield rest


def until_stop(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """Text up to the first of ``stops``.

    An ending that one of them may start with is held back until more text decides.
    """
    held = ""
    for piece in pieces:
        held += piece

        positions = [at for text in stops if (at := held.find(text)) >= 0]
        if positions:
            if before := held[: min(positions)]:
                yield before
            return

        undecided = max(
            (n for text in stops for n in range(1, len(text)) if held.endswith(text[:n])), default=0
        )
        certain, held = held[: len(held) - undecided], held[len(held) - undecided :]
        if certain:
            yield certain

    if held:
        yield held
