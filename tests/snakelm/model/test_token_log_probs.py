"""Log-probabilities by target against plain torch in float64, with gradients, in any chunks."""

import pytest
import torch

from snakelm.model import token_log_probs as module
from snakelm.model.token_log_probs import token_log_probs

IGNORE = -100


def exact(x, head, targets):
    """From plain torch's log-softmax of all logits."""
    kept = targets != IGNORE
    return (x @ head.t()).log_softmax(1)[kept].gather(1, targets[kept][:, None])[:, 0]


@pytest.mark.parametrize("rows", [0, 1, 37], ids="{} rows".format)
@pytest.mark.parametrize("chunk", [1, 32 << 20], ids=["small chunks", "one chunk"])
def test_values_and_gradients_are_those_of_all_logits(rows, chunk, monkeypatch):
    monkeypatch.setattr(module, "LOGIT_BYTES", chunk)
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 24, dtype=torch.float64, generator=generator)
    head = torch.randn(50, 24, dtype=torch.float64, generator=generator)
    targets = torch.randint(0, 50, (rows,), generator=generator)
    targets[::3] = IGNORE
    counts = torch.randn(int((targets != IGNORE).sum()), dtype=torch.float64, generator=generator)

    found = []
    for log_probs in (exact, lambda *given: token_log_probs(*given, IGNORE)):
        leaves = [one.clone().requires_grad_() for one in (x, head)]
        values = log_probs(*leaves, targets)
        (values * counts).sum().backward()
        found.append([values, *(leaf.grad for leaf in leaves)])
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_bfloat16_is_as_near_as_its_logits_allow():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 32, generator=generator).bfloat16()
    head = (torch.randn(300, 32, generator=generator) / 8).bfloat16()
    targets = torch.randint(0, 300, (40,), generator=generator)
    got = token_log_probs(x, head, targets, IGNORE)
    assert got.dtype == torch.float32
    rounded = (x @ head.t()).double().log_softmax(1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(got.double(), rounded, rtol=1e-5, atol=1e-5)
