"""Learning rate over the steps: warm-up, flat, linear to zero; and Muon's momentum.

The flat middle means that the length of a run is decided by when the decay starts, and that decay
can start from any checkpoint of the flat part.
"""

from ..config import Train

__all__ = ["lr_factor", "momentum"]

MOMENTUM_START, MOMENTUM_STEPS = (
    0.85,
    300,
)  # early gradients turn quickly: a shorter memory follows them


def lr_factor(step: int, train: Train) -> float:
    """The share of the peak learning rate at ``step`` (from 0): in (0, 1], and never 0 before the
    run's end.
    """
    warm = min(1.0, (step + 1) / train.warmup) if train.warmup else 1.0
    decay_steps = train.decay * train.steps
    left = train.steps - step
    return warm * (min(1.0, left / decay_steps) if decay_steps > 0 else 1.0)


def momentum(step: int, train: Train) -> float:
    """Muon's momentum at ``step``, from 0.85 to train.momentum over the first 300 steps."""
    start = min(MOMENTUM_START, train.momentum)
    return start + (train.momentum - start) * min(1.0, step / MOMENTUM_STEPS)
