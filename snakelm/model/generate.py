"""Text from a model, a token at a time: temperature, top-k and top-p (nucleus sampling, Holtzman et
al. 2019) with a seeded generator.

Without a cache every token runs the model over the whole window: that is the specification, and how
samples during training are made, which are few and whose bytes are part of a run. With a `Cache` of
keys and values the same ids come sooner.
"""

from collections.abc import Collection, Iterator, Sequence

import torch

from .decoder import Decoder
from .kv_cache import Cache
from .working_copies import working_copy

__all__ = ["generate", "stream", "usual_temperature"]

COLDEST = 1e-30  # temperatures below would overflow float32: to NaN instead of the likeliest id


def usual_temperature(chat: bool) -> float:
    """What generation takes unless told, of a model that answers or of one that goes on with text.

    An answer is short, and the likelier the better; text at so low a temperature soon goes round in
    circles, the sooner the better a small model copies.
    """
    return 0.3 if chat else 0.8


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
    """All ids of `stream` at once; ends early at the id ``stop``."""
    stops = () if stop is None else (stop,)
    return list(
        stream(model, prompt, length, temperature=temperature, top_k=top_k, stop=stops, seed=seed)
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

    ``temperature`` 0 takes the likeliest each time; otherwise the choice is among the ``top_k``
    likeliest, and of them among the fewest whose probabilities add up to ``top_p``. Ends before an
    id in ``stop``, which isn't part of the result. The window is the last model.context ids.
    ``cache``: of this model; what an earlier stream left in it is reused.
    """
    assert len(prompt) > 0, "a model needs something to continue; give it the end-of-text id"
    device = model.embedding.device
    generator = torch.Generator(device="cpu").manual_seed(seed)  # the same draws on every device

    ids = list(prompt)
    for _ in range(length):
        window = ids[-model.shape.context :]
        if cache is None:
            x_C = model.hidden(torch.tensor([window], device=device))[0, -1]
        else:
            x_C = cache.last_hidden(window)

        head_VC = working_copy(model.head_weight, model.compute_dtype)
        logits_V = torch.nn.functional.linear(x_C, head_VC)
        chosen = _choose(logits_V.float().cpu(), temperature, top_k, top_p, generator)
        if chosen in stop:
            return

        ids.append(chosen)
        yield chosen


def _choose(
    logits_V: torch.Tensor,
    temperature: float,
    top_k: int | None,
    top_p: float,
    generator: torch.Generator,
) -> int:
    """One id by ``logits_V``, float32."""
    if temperature < COLDEST:
        return int(logits_V.argmax())

    if top_k is not None and top_k < logits_V.numel():
        lowest_kept = logits_V.topk(top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < lowest_kept, float("-inf"))
    scaled_V = logits_V / temperature
    if scaled_V.max().isinf():  # so cold that only the likeliest is left
        return int(logits_V.argmax())
    probabilities_V = scaled_V.softmax(dim=-1)

    if top_p < 1:
        sorted_V, order_V = probabilities_V.sort(descending=True, stable=True)
        # An id is left out if the likelier ones add up to top_p without it; never the first.
        excluded_V = sorted_V.cumsum(dim=0) - sorted_V >= top_p
        excluded_V[0] = False  # top_p may be smaller than any float32
        probabilities_V[order_V[excluded_V]] = 0.0

    return int(torch.multinomial(probabilities_V, 1, generator=generator))
