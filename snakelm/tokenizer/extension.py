"""More tokens for a tokenizer that is in use: merges learned on new text, beyond those it has.

Old ids stay what they are, special tokens' included, so a model's embeddings and token files keep
their meaning; the new ids follow the largest old one. A text may encode to other ids than before,
shorter, but only where a new token stands for two that stood there. Merges are learned on words as
the old tokenizer encodes them, so what is counted is what the extended one will merge.

One exception to "the most frequent pair": some published vocabularies have tokens that merging
never reaches, which match only a complete word. A pair that spells a part of such a token is passed
over, since it could make it reachable, and old text would encode otherwise than through new tokens.
"""

from snakelm import _text

from ..errors import UserError
from .arguments import at_least
from .split_elsewhere import WHOLE
from .tokenizer import Tokenizer
from .training import MEMORY_MB, Texts, counted_words, training_facts

__all__ = ["extend_vocabulary"]


def extend_vocabulary(
    tokenizer: Tokenizer,
    texts: Texts,
    new_tokens: int,
    *,
    threads: int = 1,
    or_fewer: bool = False,
    memory_mb: int = MEMORY_MB,
) -> Tokenizer:
    """The tokenizer with ``new_tokens`` more, learned on the texts (as for `train_bpe`).

    UserError where they have too few different pairs; ``or_fewer``: as many as they allow then.
    """
    call = "extend_vocabulary"
    new_tokens = at_least(1, new_tokens, call, "new_tokens")
    trainer = counted_words(call, texts, tokenizer.pattern, threads, memory_mb)
    first = tokenizer.vocab_size
    base = _text.Encoder(tokenizer.plain_tokens(), WHOLE)
    pairs = trainer.extend(base, first, new_tokens)
    if len(pairs) < (1 if or_fewer else new_tokens):
        raise UserError(
            f"extend_vocabulary: {trainer.bytes} bytes of text with {trainer.distinct_pieces} "
            f"different words gave {len(pairs)} of {new_tokens} new tokens; give more text, or ask "
            "for fewer"
        )

    tokens = tokenizer.plain_tokens()
    for left, right in pairs:
        tokens.append(tokens[left] + tokens[right])
    ranks = tokenizer.mergeable_ranks | {token: first + i for i, token in enumerate(tokens[first:])}
    facts = training_facts(trainer) | {"extends": tokenizer.sha256}
    return Tokenizer(ranks, tokenizer.pattern, tokenizer.special_tokens, facts)
