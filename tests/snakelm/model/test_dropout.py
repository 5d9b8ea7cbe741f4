"""Dropout whose masks are a function of keys and places: the share it drops, what it leaves as it
was, and that nothing in it depends on anything else.
"""

import math

import numpy as np
import pytest
import torch

from snakelm.config import Model
from snakelm.model import Decoder
from snakelm.model.dropout import Dropout
from snakelm.training.dropout import row_dropout

SHAPE = Model(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, hidden=64, context=16)


def kept(rate, keys, place=0, positions=128, width=64):
    """Which of the values are kept: float [B, T, C]."""
    ones = torch.ones(len(keys), positions, width)
    return (Dropout(rate, torch.tensor(keys))(ones, place) > 0).float()


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_rest_made_up_for(rate):
    keys = [0, 1, 2**31, 2**32 - 1]
    ones = torch.ones(4, 128, 64)
    y_BTC = Dropout(rate, torch.tensor(keys))(ones, 0)
    assert y_BTC.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)])

    spread = math.sqrt(rate * (1 - rate))
    mask_BTC = kept(rate, keys)
    for axes in ((0, 1, 2), (1, 2), (0, 2), (0, 1)):  # in all, by row, by position, by channel
        share = mask_BTC.mean(axes)
        values = mask_BTC.numel() / share.numel()
        assert (share - (1 - rate)).abs().max() < 5 * spread / math.sqrt(values)


def test_masks_of_rows_places_positions_and_channels_have_nothing_to_do_with_each_other():
    a, b = kept(0.5, [7, 8], place=0), kept(0.5, [7, 8], place=1)
    pairs = {
        "rows": (a[0], a[1]),
        "places": (a, b),
        "a row's place and its neighbour's": (a[0], b[1]),
        "positions": (a[:, 1:], a[:, :-1]),
        "channels": (a[..., 1:], a[..., :-1]),
        "halves": (a[..., :32], a[..., 32:]),
    }
    for name, (x, y) in pairs.items():
        agreement = (x == y).float().mean()
        assert abs(agreement - 0.5) < 5 * 0.5 / math.sqrt(x.numel()), name


def test_a_mask_is_that_of_its_row_whatever_is_beside_it():
    alone, together = kept(0.3, [5]), kept(0.3, [3, 5, 9])
    assert torch.equal(alone[0], together[1])
    assert torch.equal(kept(0.3, [5], positions=40)[0], alone[0, :40])


def test_keys_are_of_the_row_in_the_whole_batch():
    whole = row_dropout(0.1, seed=3, step=8, first=0, last=8)
    parts = [row_dropout(0.1, 3, 8, first, first + 2) for first in range(0, 8, 2)]
    assert np.array_equal(whole.keys, np.concatenate([part.keys for part in parts]))
    assert np.array_equal(whole.part(2, 5).keys, whole.keys[2:5])

    others = [row_dropout(0.1, 3, 9, 0, 8), row_dropout(0.1, 4, 8, 0, 8)]
    every = np.concatenate([whole.keys, *(other.keys for other in others)])
    assert len(np.unique(every)) == len(every)
    assert row_dropout(0.0, 3, 8, 0, 8) is None


def test_bfloat16_values_are_scaled_as_float32_ones_are():
    x_BTC = torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    dropout = Dropout(0.1, torch.tensor([1, 2]))
    assert torch.equal(dropout(x_BTC, 0), dropout(x_BTC.float(), 0).bfloat16())


def test_a_model_drops_in_training_and_nothing_without_keys():
    generator = torch.Generator().manual_seed(0)
    model = Decoder(SHAPE, 50).initialize(generator)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3, generator=generator)
    x_BT = torch.randint(0, 50, (2, 16), generator=generator)
    drop = Dropout(0.5, torch.tensor([1, 2]))

    plain = model(x_BT)
    assert not torch.equal(model(x_BT, dropout=drop), plain)
    assert torch.equal(model(x_BT, dropout=drop), model(x_BT, dropout=drop))
    assert torch.equal(model(x_BT), plain)

    gentle = model(x_BT, dropout=Dropout(1e-9, drop.keys_B))
    torch.testing.assert_close(gentle, plain)


def test_gradients_go_through_what_is_kept_alone():
    x_BTC = torch.ones(1, 32, 16, requires_grad=True)
    y_BTC = Dropout(0.4, torch.tensor([3]))(x_BTC, 2)
    y_BTC.sum().backward()
    assert torch.equal(x_BTC.grad, y_BTC)
