"""Up to where runs of other lengths are one run."""

import pytest

from snakelm.config import Train
from snakelm.training.branching import flat_steps, pinned_step
from snakelm.training.optimizer import lr_factor

LENGTHS = [(1, 0.5), (20, 0.5), (30, 0.1), (850, 0.6), (851, 0.6), (7, 1.0), (9, 0.0), (3, 1e-9)]
LENGTHS += [(steps, decay) for steps in (10, 29, 30, 100) for decay in (0.1, 0.3, 0.7, 0.9)]


@pytest.mark.parametrize(("steps", "decay"), LENGTHS)
def test_the_rate_of_the_flat_part_is_that_of_any_longer_run_to_the_bit(steps, decay):
    train = Train(steps=steps, decay=decay, warmup=4)
    endless = Train(steps=steps, decay=0.0, warmup=4)
    flat = flat_steps(steps, decay)
    for step in range(steps):
        same = lr_factor(step, train) == lr_factor(step, endless)
        assert same or step >= flat
        assert not same or step <= flat, "and no step less than there are"
    kept = min(flat, steps - 1)  # what is saved at the end is of no longer run
    assert pinned_step(train) == (kept if kept > 1 else None)
