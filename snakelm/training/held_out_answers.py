"""What a model that is being tuned answers to held-out questions."""

from collections.abc import Iterator, Sequence

from ..data.packs import Packs
from ..model import Decoder
from ..model.generate import stream
from ..tokenizer import Tokenizer
from ..tokenizer.special import END
from .metrics import Sample

__all__ = ["held_out_answers"]

QUESTIONS = 3  # held-out conversations that are answered at each evaluation


def held_out_answers(
    model: Decoder,
    tokenizer: Tokenizer,
    packs: Packs,
    conversations: Sequence[int],
    step: int,
    length: int,
) -> Iterator[Sample]:
    """Answers of at most ``length`` tokens, 0 for none, to the first question of some of the
    ``conversations`` (numbers, at even distances), the likeliest token each time.
    """
    # Where chat.py and evaluation end an answer, this ends too.
    end, stop = tokenizer.special_tokens[END], set(tokenizer.special_tokens.values())
    last = len(conversations) - 1
    if not length:
        return

    spread = {place * last // max(1, QUESTIONS - 1) for place in range(QUESTIONS)}
    for place in sorted(spread):
        prompt, expected = _question(packs, conversations[place], end)
        answer = list(stream(model, prompt, length, temperature=0, stop=stop))
        decode = tokenizer.decode
        yield Sample(step, decode(prompt), decode(answer), decode(expected))


def _question(packs: Packs, conversation: int, end: int) -> tuple[list[int], list[int]]:
    """Ids of a conversation up to its first answer that is learned, and of that answer."""
    first, last = packs.document_offsets[conversation : conversation + 2].tolist()
    ids, mask = packs.tokens[first:last].tolist(), packs.learned(first, last)
    answer = int(mask.argmax())
    return ids[:answer], ids[answer : ids.index(end, answer)]
