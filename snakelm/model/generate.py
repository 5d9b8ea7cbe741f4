"""Text from a model, a token at a time: temperature, top-k and top-p from a seeded generator.

Without a cache each token reads the window again: that is the specification, and the way of samples
during training, which are few and whose bytes are part of a run. With a `Cache` of keys and values
it gives the same ids sooner.
"""

from collections.abc import Collection, Iterator, Sequence

import torch

from .decoder import Decoder
from .kv_cache import Cache

__all__ = ["generate", "stream"]


def generate(
    model: Decoder,
    prompt: Sequence[int],
    length: int,
    *,
    temperature: float = 0.8,
    top_k: int | None = 50,
    stop: int | None = None,
    seed: int = 0,
) -> list[int]:
    """All that `stream` gives, at once; ends early at the id ``stop``."""
    ends = () if stop is None else (stop,)
    return list(
        stream(model, prompt, length, temperature=temperature, top_k=top_k, stop=ends, seed=seed)
    )


@torch.no_grad()
def stream(
    model: Decoder,
    prompt: Sequence[int],
    length: int,
    *,
    temperature: float = 0.8,
    top_k: int | None = 50,
    top_p: float = 1.0,
    stop: Collection[int] = (),
    seed: int = 0,
    cache: Cache | None = None,
) -> Iterator[int]:
    """Up to ``length`` token ids that follow ``prompt`` (at least one id), each as it is chosen.

    ``temperature`` 0 takes the likeliest each time; else the choice is among the ``top_k``
    likeliest, and of them among the fewest that have ``top_p`` of the probability together. Ends
    before an id in ``stop``, which isn't given. The window is the last model.context ids.
    ``cache``: of this model; what an earlier stream left in it is used.
    """
    assert len(prompt) > 0, "a model needs something to go on from; give it the end-of-text id"
    device = model.embedding.device
    generator = torch.Generator(device="cpu").manual_seed(seed)
    ids = list(prompt)
    for _ in range(length):
        window = ids[-model.shape.context :]
        last_C = (
            model.hidden(torch.tensor([window], device=device))[0, -1]
            if cache is None
            else cache.last(window)
        )
        logits_V = torch.nn.functional.linear(last_C, model.head_weight.to(model.compute_dtype))
        chosen = _pick(logits_V.float().cpu(), temperature, top_k, top_p, generator)
        if chosen in stop:
            return
        ids.append(chosen)
        yield chosen


def _pick(
    logits_V: torch.Tensor,
    temperature: float,
    top_k: int | None,
    top_p: float,
    generator: torch.Generator,
) -> int:
    if temperature == 0:
        return int(logits_V.argmax())
    if top_k is not None and top_k < logits_V.numel():
        lowest_kept = logits_V.topk(top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < lowest_kept, float("-inf"))
    probabilities_V = (logits_V / temperature).softmax(dim=-1)
    if top_p < 1:
        sorted_V, order_V = probabilities_V.sort(descending=True, stable=True)
        beyond_V = (
            sorted_V.cumsum(dim=0) - sorted_V >= top_p
        )  # what is likelier already has top_p; never the first
        probabilities_V[order_V[beyond_V]] = 0.0
    return int(torch.multinomial(probabilities_V, 1, generator=generator))
