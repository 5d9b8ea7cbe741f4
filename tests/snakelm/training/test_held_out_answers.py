"""Answers while tuning end where all others end: at any special token."""

import pytest
import torch

from snakelm.config import Model
from snakelm.model import Decoder
from snakelm.training.held_out_answers import held_out_answers

SHAPE = Model(layers=1, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=64)
TALK = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]


@pytest.mark.parametrize(
    ("likeliest", "answer"),
    [("<|endoftext|>", ""), ("<|user|>", ""), ("<|end|>", ""), ("x", "xxxx")],
)
def test_an_answer_ends_at_any_special_token(make_packs, bytes_and_chat, likeliest, answer):
    packs, tokenizer = make_packs([TALK], 64), bytes_and_chat
    model = Decoder(SHAPE, tokenizer.vocab_size)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(float(name == "embedding" or p.ndim == 1))
        chosen = tokenizer.special_tokens.get(likeliest, ord(likeliest[0]))
        model.head[chosen] = 1.0
    (sample,) = held_out_answers(model.eval(), tokenizer, packs, [0], 3, 4)
    assert (sample.text, sample.expected) == (answer, "b")
