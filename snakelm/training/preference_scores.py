"""What a model makes of packed preferences: the scores of the one that training starts from, kept
for the whole run, and the figures of the one that is trained.

The scores are made once, before the first step, and written into the run's folder. A resumed run
reads them there: on another machine, or with another number of threads, they would come out a bit
different, and the run with them.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..data.preference_packs import PreferencePacks
from ..files import atomic_path
from ..log import Log
from ..model import Decoder
from .distributed import World
from .launch import return_freed_memory
from .preference_batches import (
    TRIM_EVERY,
    AnswerRows,
    OtherPrompts,
    Scores,
    answer_log_probs,
    unit_rows,
)
from .preference_losses import Loss

__all__ = ["FILE", "measure", "reference_scores", "spread_units"]

FILE = "reference.safetensors"
UNITS_AT_ONCE = 8


def reference_scores(
    folder: Path,
    model: Decoder,
    files: Mapping[str, tuple[PreferencePacks, OtherPrompts | None]],
    log: Log,
    writes: bool,
) -> dict[str, Scores]:
    """The scores of each of ``files`` by ``model``, from the run's ``folder`` where they are there.
    ``writes``: whether this process writes them.
    """
    path = folder / FILE
    arrays = _read(path, log)
    if arrays is None:
        arrays = {}
        for name, (data, others) in files.items():
            log.say(f"{data.path}: {data.count:,} scored by the model that training starts from")
            scores = _score(model, data, others)
            arrays |= {f"{name}.answers": scores.answers, f"{name}.others": scores.others}
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(save(arrays, {"sha256": _digest(arrays)}))
    return {name: Scores(arrays[f"{name}.answers"], arrays[f"{name}.others"]) for name in files}


def spread_units(data: PreferencePacks, most_tokens: int | None) -> np.ndarray:
    """Numbers of units at even distances that hold about ``most_tokens`` together; all for None."""
    units, tokens = data.unit_packs.size - 1, data.packs.meta.tokens
    if most_tokens is None or tokens <= most_tokens:
        return np.arange(units)
    count = max(1, units * most_tokens // tokens)
    return np.unique(np.linspace(0, units - 1, count).astype(np.int64))


def measure(
    model: Decoder,
    data: PreferencePacks,
    others: OtherPrompts | None,
    reference: Scores,
    loss: Loss,
    units: np.ndarray,
    world: World,
    stopped: Callable[[], bool],
) -> dict[str, float | None] | None:
    """Loss, and rewards by TRL's names, of ``units``, of which each process takes its share; None
    when a signal came on the way. A figure of no answer is None.
    """
    own = units[world.rank :: world.size]
    found = _found(model, data, own, stopped)
    of_others = _drift(model, others, reference, found[0], stopped) if found and others else None
    needed = found is not None and (others is None or of_others is not None)
    sums = world.sum_losses((np.zeros(2) if others is None else of_others) if needed else None, 2)
    if sums is None:
        return None

    conversations, log_probs = found if found else (np.zeros(0, np.int64), np.zeros(0, np.float32))
    drift = torch.tensor(sums[0] / max(1.0, sums[1]))
    ratios = torch.from_numpy(log_probs.astype(np.float64) - reference.answers[conversations])
    wanted = torch.from_numpy(data.wanted[conversations])
    rewards = loss.beta * ratios
    likelier = log_probs[0::2] > log_probs[1::2] if data.paired else log_probs[:0]
    own_sums = [
        float(loss.losses(ratios, wanted, drift).sum()),
        float(loss.is_right(ratios, wanted, drift).sum()),
        ratios.numel() / data.each,
        float(rewards[wanted].sum()),
        float(wanted.sum()),
        float(rewards[~wanted].sum()),
        float((~wanted).sum()),
        float(likelier.sum()),
        float(likelier.size),
    ]
    total = world.sum_losses(np.array(own_sums), len(own_sums))
    return None if total is None else _figures(*total.tolist())


def _figures(
    lost: float,
    right: float,
    count: float,
    chosen: float,
    chosen_count: float,
    rejected: float,
    rejected_count: float,
    likelier: float,
    pairs: float,
) -> dict[str, float | None]:
    """Means of what `measure` has summed."""
    both = chosen_count and rejected_count
    mean_chosen = chosen / chosen_count if chosen_count else None
    mean_rejected = rejected / rejected_count if rejected_count else None
    return {
        "loss": lost / count if count else None,
        "rewards_chosen": mean_chosen,
        "rewards_rejected": mean_rejected,
        "rewards_margins": (mean_chosen or 0.0) - (mean_rejected or 0.0) if both else None,
        "rewards_accuracies": right / count if count else None,
        "logps_accuracies": likelier / pairs if pairs else None,
    }


def _score(model: Decoder, data: PreferencePacks, others: OtherPrompts | None) -> Scores:
    found = _found(model, data, spread_units(data, None))
    assert found is not None, "nothing stops it"
    conversations, log_probs = found
    answers = np.zeros(data.wanted.size, np.float32)
    answers[conversations] = log_probs

    of_others = np.zeros(data.wanted.size, np.float32)
    if others is not None:
        for given, numbers in _other_rows(others, np.arange(data.wanted.size)):
            of_others[numbers] = _log_probs(model, given)
    return Scores(answers, of_others)


def _found(
    model: Decoder,
    data: PreferencePacks,
    units: np.ndarray,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Numbers of the conversations of ``units``, and the log-probabilities of their answers."""
    # Made before the loop: what is kept of each round would lie in the heap between the blocks of
    # the next, and leave it in holes.
    count = int(np.diff(data.unit_conversations)[units].sum())
    numbers, found, at = np.empty(count, np.int64), np.empty(count, np.float32), 0
    for first in range(0, units.size, UNITS_AT_ONCE):
        if stopped():
            return None
        if first % (TRIM_EVERY * UNITS_AT_ONCE) == 0:
            return_freed_memory()
        given, conversations = unit_rows(data, units[first : first + UNITS_AT_ONCE])
        filled = slice(at, at + conversations.size)
        numbers[filled], found[filled] = conversations, _log_probs(model, given)
        at = filled.stop
    return numbers, found


def _drift(
    model: Decoder,
    others: OtherPrompts,
    reference: Scores,
    conversations: np.ndarray,
    stopped: Callable[[], bool],
) -> np.ndarray | None:
    """[summed log ratio of answers to other prompts, how many they are], float64."""
    sums = np.zeros(2)
    for given, numbers in _other_rows(others, conversations):
        if stopped():
            return None
        ratios = _log_probs(model, given).astype(np.float64) - reference.others[numbers]
        sums += ratios.sum(), ratios.size
    return sums


def _other_rows(
    others: OtherPrompts, conversations: np.ndarray
) -> list[tuple[AnswerRows, np.ndarray]]:
    """The rows of answers to other prompts, some at a time."""
    parts = np.array_split(conversations, -(-conversations.size // (4 * UNITS_AT_ONCE)) or 1)
    return [(given, numbers) for given, numbers in map(others.rows, parts) if numbers.size]


@torch.no_grad()
def _log_probs(model: Decoder, given: AnswerRows) -> np.ndarray:
    return answer_log_probs(model, given, model.embedding.device).float().cpu().numpy()


def _read(path: Path, log: Log) -> dict[str, np.ndarray] | None:
    """The arrays of a file that is whole; None where there is none."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if (file.metadata() or {}).get("sha256") == _digest(arrays):
                return arrays
    except (SafetensorError, OSError):
        pass
    log.warn(f"{path}: damaged; scored anew")
    return None


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].tobytes())
    return digest.hexdigest()
