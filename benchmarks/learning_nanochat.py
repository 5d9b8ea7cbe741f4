"""nanochat's model and optimizer, from a clone of it, as a baseline of learning.py.

Its recipe by its base_train.py: rates from those of 524,288 tokens a batch by the square root,
warm-up over 40 steps, flat, linear to a twentieth over the last 65%, momentum to 0.97 over 400
steps and down to 0.90 while the rates fall. Its weight decay, which is set by a law for billions of
tokens, is left out, and windows as well, as in its example for a CPU. Crops of the plain stream as
for the other baselines. What it compiles is compiled before its time is counted.
"""

import os
import sys

HEAD_DIM = 64
WIDTH = 256
RATES_AT = 2**19  # tokens of a batch
LR = {"unembedding_lr": 0.008, "embedding_lr": 0.3, "matrix_lr": 0.02, "scalar_lr": 0.5}
WARMUP, WARMDOWN, FLOOR = 40, 0.65, 0.05
MOMENTUM_WARMUP = 400


def train(args, job: dict, budget, train_bin, batch_tokens: int):
    """The model and its number of steps."""
    import torch
    from learning_baselines import random_crops, trained_in

    os.environ["NANOCHAT_DTYPE"] = str(trained_in()).removeprefix("torch.")
    sys.path.insert(0, str(args.nanochat))
    from nanochat.gpt import GPT, GPTConfig

    torch.manual_seed(job["seed"])
    context = args.baseline_context
    heads = WIDTH // HEAD_DIM
    shape = GPTConfig(
        sequence_len=context,
        vocab_size=train_bin.meta.vocab_size,
        n_layer=job["layers"],
        n_head=heads,
        n_kv_head=heads,
        n_embd=WIDTH,
        window_pattern="L",
    )
    with torch.device("meta"):
        model = GPT(shape)
    model.to_empty(device="cpu")
    model.init_weights()

    batches = random_crops(train_bin.tokens, context, batch_tokens, job["seed"])
    compiled = torch.compile(model, dynamic=False)
    compile_all(model, compiled, *next(batches), budget)
    scale = job["lr"] * (batch_tokens / RATES_AT) ** 0.5
    optimizer = model.setup_optimizer(**{name: lr * scale for name, lr in LR.items()})

    step = 0
    while (share := budget.share()) < 1:
        fallen = max(0.0, (share - (1 - WARMDOWN)) / WARMDOWN)
        factor = min(1.0, (step + 1) / WARMUP) * (1 - (1 - FLOOR) * fallen)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
            if group["kind"] == "muon":
                group["momentum"] = momentum(step, fallen)

        compiled(*next(batches)).backward()
        optimizer.step()
        model.zero_grad(set_to_none=True)
        step += 1

    return Logits(model), step


def momentum(step: int, fallen: float) -> float:
    """Muon's, up over the first steps and down with the rates."""
    if step < MOMENTUM_WARMUP:
        return 0.85 + (0.97 - 0.85) * step / MOMENTUM_WARMUP
    return 0.97 + (0.90 - 0.97) * fallen


def compile_all(model, compiled, x_BT, y_BT, budget) -> None:
    """A step that changes no weight, so that all is compiled; its time is left out."""
    before = budget.used()
    compiled(x_BT, y_BT).backward()
    optimizer = model.setup_optimizer()
    for group in optimizer.param_groups:
        group["lr"] = 0.0

    optimizer.step()
    model.zero_grad(set_to_none=True)
    budget.leave_out(budget.used() - before)


class Logits:
    """nanochat's model under the name that losses are taken by: (logits, none)."""

    def __init__(self, model) -> None:
        self.model = model

    def eval(self) -> None:
        """As the model's own."""
        self.model.eval()

    def __call__(self, x_BT, y_BT):
        return self.model(x_BT), None
