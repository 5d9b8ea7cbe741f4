"""Text from a model, a token at a time: temperature and top-k from a seeded generator.

Without a cache of keys and values: each token runs the window again. Samples during training are short and the models
small; a cache pays for chat and lives where chat does.
"""

from collections.abc import Sequence

import torch

from .decoder import Decoder

__all__ = ["generate"]


@torch.no_grad()
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
    """Up to ``length`` token ids that follow ``prompt`` (at least one id); ends early at the id ``stop``.

    ``temperature`` 0 takes the likeliest each time. The window is the last model.context ids.
    """
    assert len(prompt) > 0, "a model needs something to go on from; give it the end-of-text id"
    device = model.embedding.device
    generator = torch.Generator(device="cpu").manual_seed(seed)
    ids = list(prompt)
    for _ in range(length):
        window_1T = torch.tensor([ids[-model.shape.context :]], dtype=torch.int64, device=device)
        logits_V = torch.nn.functional.linear(model.hidden(window_1T)[0, -1], model.head_weight.to(model.compute_dtype))
        chosen = _pick(logits_V.float().cpu(), temperature, top_k, generator)
        if chosen == stop:
            break
        ids.append(chosen)
    return ids[len(prompt) :]


def _pick(logits_V: torch.Tensor, temperature: float, top_k: int | None, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits_V.argmax())
    if top_k is not None and top_k < logits_V.numel():
        lowest_kept = logits_V.topk(top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < lowest_kept, float("-inf"))
    probabilities_V = (logits_V / temperature).softmax(dim=-1)
    return int(torch.multinomial(probabilities_V, 1, generator=generator))
