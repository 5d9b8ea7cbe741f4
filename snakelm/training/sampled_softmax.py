"""Training the head on some of the vocabulary: most of a small model's step is the product with all
of it, for tokens that hardly any position confuses with its target.

A step's softmax goes over the targets of its whole batch, the commonest tokens, and as many random
ones from the rest, after Jean et al. (2015, arXiv:1412.2007). The random ones stand for all of the
rest: each was taken with probability r of n, so its logit gets + log(n / r), and the sum of
exponentials is that of the full softmax in expectation. What is left is the bias of a logarithm of
an estimate: the training loss reads a little low. Evaluation, generation and export know nothing of
it.

The sample is a function of (seed, step) and of the batch's text, the same for every micro-batch and
every process, which all see the whole batch's targets: so neither changes what is learned, and
there is nothing to save. Rejected: a sample for each process from its own targets, which makes
three quarters of the work, and another model for another number of processes.

Legend: V vocabulary, S tokens of the sample, N targets.
"""

from dataclasses import dataclass

import numpy as np

from ..config import Train
from ..data.bins import TokenBin
from ..device import Device
from ..errors import UserError
from ..log import Log

__all__ = ["SoftmaxSample", "SoftmaxSampler", "choose_sampler"]

COUNTED_TOKENS, CHUNK_TOKENS = 4_000_000, 65_536
MULTIPLE = 64  # of a sample's size, as the products like it
LARGEST_SHARE = 0.5  # of the vocabulary: a larger sample saves too little


@dataclass(frozen=True)
class SoftmaxSample:
    """Tokens int64 [S], ascending, and what is added to their logits, float32 [S]."""

    tokens: np.ndarray
    correction: np.ndarray


class SoftmaxSampler:
    """Draws the sample of each step. ``common``: tokens that are in all of them, int64."""

    def __init__(self, vocab_size: int, common: np.ndarray, random: int, seed: int) -> None:
        self.vocab_size, self.common, self.random, self.seed = vocab_size, common, random, seed

    def draw(self, step: int, targets: np.ndarray) -> SoftmaxSample | None:
        """The sample of ``step``, whose ``targets`` (int64, any shape) are all those of its batch;
        None when it is the whole vocabulary.
        """
        wanted_V = np.zeros(self.vocab_size, bool)
        wanted_V[targets] = True
        wanted_V[self.common] = True

        rest = np.flatnonzero(~wanted_V)
        count = self.random + -(self.vocab_size - len(rest) + self.random) % MULTIPLE
        if count >= len(rest):
            return None
        generator = np.random.Generator(np.random.PCG64([self.seed, step]))
        random = generator.choice(rest, count, replace=False, shuffle=False)

        correction_V = np.zeros(self.vocab_size, np.float32)
        correction_V[random] = np.log(len(rest) / count)
        wanted_V[random] = True
        tokens = np.flatnonzero(wanted_V)
        return SoftmaxSample(tokens, correction_V[tokens])


def choose_sampler(
    train: Train, tokens: TokenBin, first_targets: np.ndarray, device: Device, log: Log
) -> SoftmaxSampler | None:
    """The sampler that train.sampled_softmax asks for; None for the full softmax, with a word when
    that is because sampling doesn't pay here.

    ``first_targets``: those of the first batch, whose sample shows what a step will take.
    """
    vocab_size, least = tokens.meta.vocab_size, train.sampled_common + train.sampled_random
    if train.sampled_softmax == "off":
        for name in ("sampled_common", "sampled_random"):
            if (value := getattr(train, name)) != Train.model_fields[name].default:
                log.warn(f"train.{name} {value:,}: of no effect, train.sampled_softmax is off")
        return None
    if train.sampled_softmax == "on" and least >= vocab_size:
        raise UserError(
            f"train.sampled_softmax: on, and the vocabulary has {vocab_size:,} tokens, no more "
            f"than the sample (train.sampled_common {train.sampled_common:,} + sampled_random "
            f"{train.sampled_random:,}); lower them, or set auto or off"
        )

    assert train.seed is not None, "the checks fill it in"
    sampler = None
    if least < vocab_size:
        common = _commonest(tokens, train.sampled_common)
        sampler = SoftmaxSampler(vocab_size, common, train.sampled_random, train.seed)
    sample = sampler.draw(0, first_targets) if sampler else None
    size = vocab_size if sample is None else len(sample.tokens)

    if train.sampled_softmax == "auto":
        if device.kind != "cpu":
            log.say(f"full softmax: a sample pays on a CPU, and this is {device.kind}")
            return None
        if size > LARGEST_SHARE * vocab_size:
            log.say(
                f"full softmax: a sample would be {size:,} of {vocab_size:,} tokens, which doesn't "
                "pay"
            )
            return None
    elif sample is None:
        log.warn(
            f"train.sampled_softmax: on, but a batch of {first_targets.size:,} tokens and the "
            f"sample make up the whole vocabulary ({vocab_size:,}): full softmax wherever they do"
        )
    log.say(f"sampled softmax: {size:,} of {vocab_size:,} tokens in the first step")
    return sampler


def _commonest(tokens: TokenBin, count: int) -> np.ndarray:
    """The ``count`` most frequent tokens, of equals the lower id, counted in chunks at even
    distances.
    """
    total, counts = int(tokens.meta.tokens), np.zeros(tokens.meta.vocab_size, np.int64)
    chunks = max(1, min(COUNTED_TOKENS, total) // CHUNK_TOKENS)
    for i in range(chunks):
        first = i * total // chunks
        chunk = tokens.tokens[first : min(first + CHUNK_TOKENS, total)]
        counts += np.bincount(chunk, minlength=len(counts))
    return np.sort(np.argsort(-counts, kind="stable")[:count])
