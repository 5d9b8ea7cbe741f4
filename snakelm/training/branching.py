"""Going on from an earlier run that is the same up to some step: more steps, or another decay,
without training the common part again.

Until the learning rate begins to fall, a run doesn't know how long it will be (the reason for
warm-up, flat, decay; Hu et al. 2024, Hägele et al. 2024, "Scaling laws and compute-optimal training
beyond fixed training durations"). So runs that differ in `train.steps` and `train.decay` alone are
one run up to the step at which the first of them begins its decay, and a checkpoint from before is
a checkpoint of all of them, byte for byte. Each run keeps the one at its decay's start, or without
a decay the one before its last step: the last evaluation takes all held-out text and may leave the
best weights in the model (train.keep_best), so what is saved after it is of no longer run.

What a run is made of is in `identity.json` in its folder: the parts of its fingerprint. The
schedule of weight decay and the memory of averaged weights are shares of a run's steps, so runs
that have them are the same only with as many steps.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..config import Train
from ..errors import UserError
from ..files import write_json
from ..json_files import read_json
from ..log import Log
from . import checkpoint
from .metrics import RunFiles

__all__ = ["flat_steps", "go_on_from_earlier", "pinned_step"]

IDENTITY = "identity.json"
LENGTH = ("train.steps", "train.decay")  # of no effect before the decay
STRETCHED = ("train.average", "train.weight_decay_schedule")  # whose steps are shares of the run's
OWN = ("format", "version", "fingerprint", "step")  # what a checkpoint says of itself
NAMES = {"train": "training text", "val": "held-out text", "version": "the trainer's version"}
MOST_NAMED = 6  # differences, in a message
SHOWN = 40  # characters of a value

Parts = Mapping[str, Any]


class Branch(Protocol):
    """What this file knows of a run's recipe."""

    names: RunFiles
    training: Train
    fingerprint: str
    parts: Parts | None  # of the fingerprint; None for a run that nothing goes on from


@dataclass(frozen=True)
class Earlier:
    """A run whose folder is there."""

    folder: Path
    differences: dict[str, str]  # key → "old → new"
    flat: int  # steps, of which the run's last is none
    length: tuple[str, ...]  # the keys of its length, as far as they have no effect before its end

    @property
    def same_but_length(self) -> bool:
        """Whether it is the same run up to the decay."""
        return self.differences.keys() <= set(self.length)


def flat_steps(steps: int, decay: float) -> int:
    """Steps of a run, from its first, before the one whose learning rate is less for the decay; all
    of them without one. As `optimizer.lr_factor` has it, to the last bit.
    """
    decay_steps = decay * steps
    flat = max(0, int(steps - decay_steps) - 1)
    while flat < steps and steps - flat >= decay_steps:
        flat += 1
    return flat


def pinned_step(train: Train) -> int | None:
    """The step whose checkpoint is kept for runs to come; None for a run that decays from the
    beginning.
    """
    flat = min(flat_steps(train.steps, train.decay), train.steps - 1)
    return flat if flat > 1 else None


def go_on_from_earlier(run_root: Path, recipe: Branch, log: Log) -> None:
    """Gives a run that has no checkpoint yet that of an earlier one, where it is this one's too;
    says from where, or why it is trained anew. Only under the lock.
    """
    if recipe.parts is None:
        return
    folder, stem = run_root / recipe.fingerprint, recipe.names.stem
    if not (folder / IDENTITY).is_file():
        write_json(folder / IDENTITY, recipe.parts)
    if checkpoint.has_begun(folder, stem):
        return

    earlier = list(_earlier_runs(run_root, recipe))
    limit = flat_steps(recipe.training.steps, recipe.training.decay)
    for step, run in sorted(_shared(earlier, limit, recipe), key=lambda one: -one[0]):
        try:
            saved = checkpoint.load(run.folder, step, run.folder.name, stem)
        except UserError as error:
            log.warn(f"{error}; trying an older checkpoint")
            continue
        state = {key: value for key, value in saved.items() if key not in OWN}
        origin = {"fingerprint": run.folder.name, "step": step}
        state |= {"final": None, "continues": origin}
        checkpoint.save(folder, step, recipe.fingerprint, state, recipe.training.keep, stem)
        log.say(
            f"goes on from step {step:,} of run {run.folder.name}, up to which both are the same "
            f"({_said(run)}): {recipe.training.steps - step:,} of {recipe.training.steps:,} steps "
            "to train"
        )
        return

    if earlier:
        log.say(_why_anew(min(earlier, key=lambda run: len(run.differences)), limit))


def _earlier_runs(run_root: Path, recipe: Branch) -> Iterator[Earlier]:
    """The runs beside this one that say what they are made of."""
    assert recipe.parts is not None
    now = _flat(recipe.parts)
    for file in sorted(run_root.glob(f"*/{IDENTITY}")):
        if file.parent.name == recipe.fingerprint:
            continue
        try:
            before = _flat(read_json(file, remedy=""))
            steps = int(before["train.steps"])
            flat = min(flat_steps(steps, float(before["train.decay"])), steps - 1)
        except (UserError, KeyError, TypeError, ValueError):
            continue  # of another version, or damaged: nothing to go on from

        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        said = {name: f"{_short(before.get(name))} → {_short(now.get(name))}" for name in names}
        yield Earlier(file.parent, said, flat, _length(now))


def _length(run: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys in which another run may differ from ``run`` and be the same up to the decay."""
    return LENGTH[1:] if any(run.get(name) for name in STRETCHED) else LENGTH


def _shared(earlier: list[Earlier], limit: int, recipe: Branch) -> Iterator[tuple[int, Earlier]]:
    """The checkpoints that are this run's, too."""
    for run in earlier:
        for step in checkpoint.steps_in(run.folder, recipe.names.stem):
            last = min(run.flat, limit, recipe.training.steps - 1)
            if run.same_but_length and step <= last:
                yield step, run


def _why_anew(nearest: Earlier, limit: int) -> str:
    name = nearest.folder.name
    if nearest.same_but_length:
        return (
            f"trained anew, though run {name} differs in its length alone ({_said(nearest)}): it "
            f"has no checkpoint up to step {min(nearest.flat, limit):,}, where the first of the "
            "two begins its decay or ends"
        )
    return (
        f"trained anew: run {name} in this folder had others ({_said(nearest)}); only "
        f"{' and '.join(nearest.length)} may differ to go on from it"
    )


def _said(run: Earlier) -> str:
    """`train.lr 0.045 → 0.03, training text`: changes that count for more first."""
    order = sorted(run.differences, key=lambda name: name in LENGTH)
    words = [NAMES.get(name) or f"{name} {run.differences[name]}" for name in order[:MOST_NAMED]]
    return ", ".join([*words, "…"] if len(order) > MOST_NAMED else words)


def _flat(parts: Parts) -> dict[str, Any]:
    """The parts of a fingerprint by their keys: train.lr, model.width, and NAMES."""
    flat = {name: value for name, value in parts.items() if name != "config"}
    for name, section in parts["config"].items():
        if isinstance(section, dict):
            flat |= {f"{name}.{key}": value for key, value in section.items()}
        else:
            flat[f"train.{name}"] = section  # the seed
    return flat


def _short(value: Any) -> str:
    """A value in a message; of digests their beginning."""
    text = "none" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}…"
