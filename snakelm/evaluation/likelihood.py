"""How likely a model finds a continuation, and what it says by itself at temperature 0; many at a
time.

Continuations stand at the left of their rows, padding behind them, where a causal model can't see
it. What is generated grows at the right end of its rows, padding before it: row_start keeps a row
from looking back into the padding, and rotary positions count by their distance alone, so a row
gives what it gives by itself.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..model import Decoder

__all__ = ["Pair", "greedy", "loglikelihoods"]

TOKENS_AT_ONCE = 8192
LOGIT_BYTES = 64 << 20
Pair = tuple[list[int], list[int]]  # ids before, at least one; ids to be scored, at least one


@torch.no_grad()
def loglikelihoods(
    model: Decoder, pairs: Sequence[Pair], on_progress: Callable[[int], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Of each pair the sum of log-probabilities of the second part in nats (float64 [n]), and
    whether it is what temperature 0 would have said (bool [n]). A pair longer than the model looks
    back loses its beginning.
    """
    context = model.shape.context
    rows = [(before + scored)[-(context + 1) :] for before, scored in pairs]
    counts = [min(len(scored), len(row) - 1) for (_, scored), row in zip(pairs, rows, strict=True)]
    sums, is_greedy, done = np.zeros(len(pairs)), np.zeros(len(pairs), bool), 0

    for batch in _batches([len(row) - 1 for row in rows]):
        length = max(len(rows[i]) for i in batch) - 1
        x_BT = np.zeros((len(batch), length), np.int64)
        target_BT = np.full((len(batch), length), -1)
        for place, i in enumerate(batch):
            end = len(rows[i]) - 1
            x_BT[place, :end] = rows[i][:-1]
            target_BT[place, end - counts[i] : end] = rows[i][-counts[i] :]

        owner, nll, likeliest = _scored(model, x_BT, target_BT)
        sums[batch] -= np.bincount(owner, nll, minlength=len(batch))
        is_greedy[batch] = np.bincount(owner, ~likeliest, minlength=len(batch)) == 0

        done += len(batch)
        if on_progress:
            on_progress(done)
    return sums, is_greedy


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of rows that go together, the longest first, none of more than TOKENS_AT_ONCE padded
    tokens.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for i in order:
        # The first row of a batch is its longest, so the batch is padded to that.
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= TOKENS_AT_ONCE:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _scored(
    model: Decoder, x_BT: np.ndarray, target_BT: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, loss in nats and whether it is the likeliest, of each of the N targets that aren't
    -1.
    """
    device = model.embedding.device
    hidden_BTC = model.hidden(torch.from_numpy(x_BT).to(device))
    is_target_BT = torch.from_numpy(target_BT >= 0).to(device)
    hidden_NC = hidden_BTC[is_target_BT]
    target_N = torch.from_numpy(target_BT[target_BT >= 0]).to(device)

    # Logits of a large vocabulary would not fit for all targets together.
    at_once = max(1, LOGIT_BYTES // (4 * model.vocab_size))
    nll, likeliest = [], []
    for part_NC, part_N in zip(hidden_NC.split(at_once), target_N.split(at_once), strict=True):
        logits_NV = F.linear(part_NC, model.head_weight.to(part_NC.dtype)).float()
        nll.append(F.cross_entropy(logits_NV, part_N, reduction="none").double().cpu())
        likeliest.append((logits_NV.argmax(-1) == part_N).cpu())
    return np.nonzero(target_BT >= 0)[0], torch.cat(nll).numpy(), torch.cat(likeliest).numpy()


@torch.no_grad()
def greedy(
    model: Decoder,
    prompts: Sequence[list[int]],
    most: int,
    stop: Collection[int],
    ended: Callable[[list[int]], bool] = lambda ids: False,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """What the model says after each prompt: up to ``most`` ids, until one of ``stop`` (left out)
    or ``ended(ids)``.

    A prompt without room for ``most`` more loses its beginning.
    """
    room = model.shape.context - most
    assert room > 0, "most is less than the context"
    kept = [prompt[-room:] for prompt in prompts]
    answers: list[list[int]] = [[] for _ in prompts]
    done = 0

    for batch in _batches([len(prompt) + most for prompt in kept]):
        going = list(batch)
        for _ in range(most):
            chosen = dict(
                zip(going, _next(model, [kept[i] + answers[i] for i in going]), strict=True)
            )
            going = [i for i in going if chosen[i] not in stop]
            for i in going:
                answers[i].append(chosen[i])
            going = [i for i in going if not ended(answers[i])]
            if not going:
                break

        done += len(batch)
        if on_progress:
            on_progress(done)
    return answers


def _next(model: Decoder, rows: Sequence[list[int]]) -> list[int]:
    """The likeliest id after each row."""
    length, device = max(map(len, rows)), model.embedding.device
    x_BT = np.zeros((len(rows), length), np.int64)
    start_BT = np.tile(np.arange(length, dtype=np.int32), (len(rows), 1))
    for place, row in enumerate(rows):
        x_BT[place, length - len(row) :] = row
        start_BT[place] = np.minimum(start_BT[place], length - len(row))

    hidden_BTC = model.hidden(
        torch.from_numpy(x_BT).to(device), torch.from_numpy(start_BT).to(device)
    )
    last_BC = hidden_BTC[:, -1]
    return F.linear(last_BC, model.head_weight.to(last_BC.dtype)).argmax(-1).tolist()
