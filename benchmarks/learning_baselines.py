"""The baselines of learning.py: other models and their losses on held-out documents, and PPMd."""

import contextlib
import functools
import importlib.util
import math
import sys
from pathlib import Path

# nanoGPT's recipe: steps, share of the peak learning rate, weight decay.
WARMUP, FLOOR, DECAY = 100, 0.1, 0.1


def train_gpt2(args, job: dict, budget, train_bin, batch_tokens: int):
    """nanoGPT's recipe: AdamW, warm-up and cosine to a tenth, clipping at 1, random crops, autocast
    to what this CPU trains in. The model and its number of steps.
    """
    import torch

    torch.manual_seed(job["seed"])
    context = args.baseline_context
    model = baseline_model(args.nanogpt, job, train_bin.meta.vocab_size, context)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=job["lr"], betas=(0.9, 0.95), fused=True)

    step, batches = 0, random_crops(train_bin.tokens, context, batch_tokens, job["seed"])
    while (share := budget.share()) < 1:
        cosine = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = job["lr"] * min(1.0, (step + 1) / WARMUP) * cosine

        x_BT, y_BT = next(batches)
        with narrowed():
            loss = model(x_BT, y_BT)[1]
        loss.backward()

        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1

    return model, step


@functools.cache
def trained_in():
    """bf16 where the CPU multiplies it, as ours has it: emulated it is slower than float32."""
    from snakelm.device import set_up_device

    return set_up_device("cpu", "auto", 1).dtype


def narrowed():
    """Autocast to that."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=trained_in() == torch.bfloat16)


def random_crops(stream, context: int, batch_tokens: int, seed: int):
    """Batches without end, inputs and targets, int64 [rows, context] each."""
    import numpy as np
    import torch

    crops = np.random.default_rng(seed)
    while True:
        starts = crops.integers(0, len(stream) - context - 1, batch_tokens // context)
        cut = np.stack([stream[s : s + context + 1] for s in starts]).astype(np.int64)
        yield torch.from_numpy(cut[:, :-1].copy()), torch.from_numpy(cut[:, 1:].copy())


def baseline_model(clone: Path | None, job: dict, vocab_size: int, context: int):
    """A model whose forward(x, y) gives (logits, mean loss); nanoGPT's own from ``clone``."""
    if job["kind"] == "gpt":
        from gpt2_shape import gpt

        return gpt(vocab_size, context, job["layers"], width=256, heads=4)
    spec = importlib.util.spec_from_file_location("nanogpt_model", clone / "model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    with contextlib.redirect_stdout(sys.stderr):
        spec.loader.exec_module(module)
        shape = {
            "block_size": context,
            "vocab_size": vocab_size,
            "n_layer": job["layers"],
            "n_head": 4,
        }
        return module.GPT(module.GPTConfig(**shape, n_embd=256, dropout=0.0, bias=False))


def baseline_losses(model, val, lengths, context: int):
    """Nats and bytes of each held-out document, in rows of the plain stream."""
    import numpy as np
    import torch

    tokens = np.asarray(val.tokens, dtype=np.int64)
    owner = np.repeat(np.arange(val.meta.documents), np.diff(val.document_offsets))
    nll, text_bytes = np.zeros(val.meta.documents), np.zeros(val.meta.documents)

    model.eval()
    with torch.no_grad(), narrowed():
        for first in range(0, len(tokens) - 1, context):
            row = tokens[first : first + context + 1]
            x_T, y_T = torch.from_numpy(row[:-1]), torch.from_numpy(row[1:])
            logits_TV = model(x_T[None], y_T[None])[0][0].float()
            loss_T = torch.nn.functional.cross_entropy(logits_TV, y_T, reduction="none").numpy()

            text = row[1:] != val.meta.eot  # no byte of text pays for an end-of-text token
            documents = owner[first + 1 : first + len(row)][text]
            np.add.at(nll, documents, loss_T[text])
            np.add.at(text_bytes, documents, lengths[row[1:][text]])

    return nll, text_bytes


def ppmd_bits_per_byte(train_bin, val, results: Path, chosen, clean) -> tuple[float, float]:
    """Of the ``chosen`` documents, and of the ``clean`` ones of them (bool [documents] both), after
    all of the training text; NaN of no documents.
    """
    import numpy as np

    from snakelm.evaluation.baselines import coder_memory, ppmd_sizes
    from snakelm.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(results / "tokenizer")

    def texts(bin_, numbers):
        return (tokenizer.decode_bytes(bin_.document(int(i))[1:]) for i in numbers)

    parts = [list(texts(val, np.flatnonzero(part))) for part in (clean, chosen & ~clean)]
    clean_bytes, copied_bytes = (sum(map(len, part)) for part in parts)
    if not clean_bytes + copied_bytes:
        return math.nan, math.nan

    primer = texts(train_bin, range(train_bin.meta.documents))
    memory = coder_memory(train_bin.meta.text_bytes + clean_bytes + copied_bytes)
    clean_size, copied_size = ppmd_sizes(primer, parts, memory)
    whole = 8 * (clean_size + copied_size) / (clean_bytes + copied_bytes)
    return whole, 8 * clean_size / clean_bytes if clean_bytes else math.nan
