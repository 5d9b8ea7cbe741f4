"""The sampled head against its definition in float64: loss, both gradients, ignored targets; and
the model's loss with a sample of all tokens is its loss.
"""

import pytest
import torch
import torch.nn.functional as F

from snakelm.config import Model
from snakelm.model import Decoder
from snakelm.model.sampled_head import sampled_cross_entropy

ROWS, VOCABULARY = 50, 300


@pytest.mark.parametrize("width", [30, 40, 64])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_is_the_cross_entropy_over_the_sample(width, dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, width, generator=generator).to(getattr(torch, dtype)).requires_grad_()
    head = (torch.randn(VOCABULARY, width, generator=generator) / 8).requires_grad_()
    tokens = torch.randperm(VOCABULARY, generator=generator)[:90].sort().values
    correction = torch.zeros(90)
    correction[40:] = 1.9137  # which bfloat16 alone would round by 0.2%
    targets = tokens[torch.randint(0, 90, (ROWS,), generator=generator)]
    targets[::7] = -100

    loss = sampled_cross_entropy(x, head, targets, tokens, correction, -100)
    of_x, of_head = torch.autograd.grad(loss, (x, head))

    x64, head64 = (t.detach().double().requires_grad_() for t in (x, head))
    logits = x64 @ head64[tokens].t() + correction
    kept = targets >= 0
    places = torch.searchsorted(tokens, targets[kept])
    expected = F.cross_entropy(logits[kept], places, reduction="sum")
    expected_x, expected_head = torch.autograd.grad(expected, (x64, head64))

    assert loss.item() == pytest.approx(expected.item(), rel=tolerance / 10)
    for got, wanted in ((of_x, expected_x), (of_head, expected_head)):
        assert (got - wanted).norm() < tolerance * wanted.norm()
    assert not of_head[~torch.isin(torch.arange(VOCABULARY), tokens)].any()
    assert not of_x[::7].any()


@pytest.mark.parametrize("tied", [False, True])
def test_a_sample_of_all_tokens_is_the_loss_itself(tied):
    shape = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 1, "head_dim": 16, "hidden": 48}
    model = Model(**shape, context=8, tie_embeddings=tied, embedding_norm=not tied)
    decoder = Decoder(model, 40).initialize(torch.Generator().manual_seed(0))
    x, y = torch.randint(0, 40, (2, 2, 8), generator=torch.Generator().manual_seed(1))
    sample = torch.arange(40), torch.zeros(40)

    losses = decoder(x, None, y, sample), decoder(x, None, y)
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, decoder.head_weight)[0] for loss in losses]
    torch.testing.assert_close(*gradients)
