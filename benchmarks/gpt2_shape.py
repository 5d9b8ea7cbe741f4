"""GPT-2's shape in plain torch: the baseline of learning.py and train.py."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def gpt(vocab_size: int, context: int, layers: int, width: int, heads: int):
    """GPT-2's shape without biases, after Radford et al. (2019): pre-norm, learned positions, GELU,
    tied head.
    """

    def linear(inputs: int, outputs: int) -> nn.Linear:
        return nn.Linear(inputs, outputs, bias=False)

    class Gpt2Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(2))
            self.qkv, self.out = linear(width, 3 * width), linear(width, width)
            self.up, self.down = linear(width, 4 * width), linear(4 * width, width)

        def forward(self, x_BTC):
            heads_BT3HD = self.qkv(self.norms[0](x_BTC)).unflatten(-1, (3, heads, -1))
            q_BHTD, k_BHTD, v_BHTD = heads_BT3HD.permute(2, 0, 3, 1, 4).unbind()
            y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=True)
            x_BTC = x_BTC + self.out(y_BHTD.transpose(1, 2).flatten(2))
            return x_BTC + self.down(F.gelu(self.up(self.norms[1](x_BTC))))

    class Gpt2(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocab_size, width)
            self.positions = nn.Embedding(context, width)
            self.blocks = nn.ModuleList(Gpt2Block() for _ in range(layers))
            self.norm = nn.LayerNorm(width, bias=False)

            for name, p in self.named_parameters():
                if p.ndim == 2:
                    residual = name.endswith(("out.weight", "down.weight"))
                    nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)

        def forward(self, x_BT, y_BT=None):
            x_BTC = self.tokens(x_BT) + self.positions(torch.arange(x_BT.shape[1]))
            for block in self.blocks:
                x_BTC = block(x_BTC)
            logits_BTV = F.linear(self.norm(x_BTC), self.tokens.weight)
            if y_BT is None:
                return logits_BTV, None
            loss = F.cross_entropy(logits_BTV.flatten(0, 1).float(), y_BT.flatten())
            return logits_BTV, loss

    return Gpt2()
