"""What a model has by heart of some documents: whether it goes on with them, word for word or
nearly, and how exposed they are.

Reproduction (Carlini et al. 2021, 2023, "Quantifying memorization across neural language models"):
at several places of a document the model is given `prefix` tokens and says `continuation` more at
temperature 0; exact is the document's own tokens, near a text of `near` similarity or more. Some of
it anyone would guess, so held-out documents are asked for as well.

Exposure (Carlini et al. 2019, "The secret sharer"): the document takes its place among held-out
documents, the controls, by the bits per byte that the model needs for its first tokens; exposure is
log2(controls + 1) - log2(place). A document like any other has 1.4 bits on average, the likeliest
of 1,001 has 10. The controls are other texts, not the same with other secrets as there: a document
that is easy to guess has some exposure without having been seen, which is why an earlier model
beside the new one says more than either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..config import Memorisation
from ..errors import UserError
from ..log import Log
from ..model import Decoder
from ..tokenizer import Tokenizer
from .intervals import Interval, rate
from .likelihood import Pair, greedy, loglikelihoods
from .memorisation_record import Memory, ModelMemory
from .similarity import similarity

__all__ = ["Checked", "check_context", "measure_memory"]

MOST_CONTROLS_ASKED = 200  # held-out documents that are asked for continuations


@dataclass(frozen=True)
class Checked:
    """A model to be checked, with the tokenizer it was trained with."""

    name: str
    model: Decoder
    tokenizer: Tokenizer


@dataclass(frozen=True)
class _Place:
    """Where a document is asked for: the tokens given, and those that follow."""

    document: int
    prompt: list[int]
    expected: list[int]


def check_context(checked: Checked, rules: Memorisation) -> None:
    """UserError where a model can't look back so far."""
    context, asked = checked.model.shape.context, rules.prefix + rules.continuation
    if asked > context:
        raise UserError(
            f"memorisation: prefix {rules.prefix} and continuation {rules.continuation} are "
            f"{asked} tokens, and the {checked.name} model looks back on {context}; lower either"
        )


def measure_memory(
    checked: Checked,
    texts: Sequence[str],
    trained_on: np.ndarray,
    controls: Sequence[str],
    rules: Memorisation,
    seed: int,
    log: Log,
) -> ModelMemory:
    """What the model has of ``texts``; the sums are over those it was ``trained_on`` (bool
    [texts]). ``controls``: held-out texts.
    """
    check_context(checked, rules)
    asked = [*texts, *controls[: min(len(texts), MOST_CONTROLS_ASKED)]]
    with log.progress(None, "continuations") as bar:
        shares = _continued(checked, asked, rules, lambda done: bar.update(done, checked.name))

    rates, control_rates = (
        _bits_per_byte(checked, some, rules.prefix + rules.continuation)
        for some in (texts, controls)
    )
    places = 1 + np.searchsorted(np.sort(control_rates), rates, "left")
    exposure = np.log2(control_rates.size + 1) - np.log2(places)

    documents = [
        Memory(**shares[i].as_json() | {"bits_per_byte": rates[i], "exposure": exposure[i]})
        for i in range(len(texts))
    ]
    own = [one for one, trained in zip(documents, trained_on, strict=True) if trained]
    others = shares[len(texts) :]
    return ModelMemory(
        name=checked.name,
        documents=documents,
        exact=_mean([one.exact for one in own], [one.places for one in own], seed),
        near=_mean([one.near for one in own], [one.places for one in own], seed),
        similarity=_mean([one.similarity for one in own], None, seed),
        exposure=_mean([one.exposure for one in own], None, seed),
        bits_per_byte=_mean([one.bits_per_byte for one in own], None, seed),
        reproduced=sum(bool(one.exact) for one in own),
        control_exact=_mean([one.exact for one in others], [one.places for one in others], seed),
        control_near=_mean([one.near for one in others], [one.places for one in others], seed),
        control_similarity=_mean([one.similarity for one in others], None, seed),
        control_bits_per_byte=float(np.median(control_rates)),
    )


def _continued(
    checked: Checked, texts: Sequence[str], rules: Memorisation, on_progress: Callable[[int], None]
) -> list[Memory]:
    """Of each text how many continuations are its own; its rate and exposure are left at 0."""
    encoded = [checked.tokenizer.encode_ordinary(text) for text in texts]
    places = [
        place
        for number, ids in enumerate(encoded)
        for place in _places(number, ids, checked.tokenizer.eot, rules)
    ]
    said = greedy(
        checked.model,
        [place.prompt for place in places],
        rules.continuation,
        {checked.tokenizer.eot},
        on_progress=on_progress,
    )

    found: dict[int, list[tuple[bool, float]]] = {number: [] for number in range(len(texts))}
    for place, ids in zip(places, said, strict=True):
        alike = similarity(*map(checked.tokenizer.decode, (ids, place.expected)))
        found[place.document].append((ids == place.expected, alike))
    return [_memory(one, rules.near) for one in found.values()]


def _places(number: int, ids: list[int], eot: int, rules: Memorisation) -> list[_Place]:
    """Evenly spread over a document, the beginning first; none in one that is too short."""
    last = len(ids) - rules.prefix - rules.continuation
    if last < 0:
        return []

    starts = sorted({round(share * last) for share in np.linspace(0, 1, rules.places)})
    middle = rules.prefix
    return [
        _Place(
            number,
            ([] if start else [eot]) + ids[start : start + middle],
            ids[start + middle : start + middle + rules.continuation],
        )
        for start in starts
    ]


def _memory(places: list[tuple[bool, float]], near: float) -> Memory:
    exact, alike = [one for one, _ in places], [one for _, one in places]
    near_ones = [one or like >= near for one, like in places]
    return Memory(
        places=len(places),
        exact=sum(exact) if places else None,
        near=sum(near_ones) if places else None,
        similarity=float(np.mean(alike)) if places else None,
        bits_per_byte=0.0,
        exposure=0.0,
    )


def _bits_per_byte(checked: Checked, texts: Sequence[str], tokens: int) -> np.ndarray:
    """Of the first ``tokens`` of each text: float64 [n]."""
    tokenizer = checked.tokenizer
    begun = [tokenizer.encode_ordinary(text)[:tokens] for text in texts]
    pairs: list[Pair] = [([tokenizer.eot], ids) for ids in begun]
    nats, _ = loglikelihoods(checked.model, pairs)
    sizes = [int(tokenizer.token_lengths[np.array(ids)].sum()) for ids in begun]
    return -nats / np.log(2) / np.maximum(sizes, 1)


def _mean(
    values: Sequence[float | None], sizes: Sequence[int] | None, seed: int
) -> Interval | None:
    """The mean over documents, or of counts the share of their ``sizes``, with a bootstrap over
    documents; None where no document has a value.
    """
    known = [i for i, value in enumerate(values) if value is not None]
    amounts = np.array([values[i] for i in known], np.float64)
    weights = np.ones(len(known)) if sizes is None else np.array([sizes[i] for i in known])
    return rate(amounts, weights, seed)
