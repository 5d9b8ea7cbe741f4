"""What happens when the loss of a step is NaN: stop, or skip a few."""

import pytest

from snakelm.config import Train
from snakelm.errors import UserError
from snakelm.training.step import StepResult, check_skips


def result(skipped):
    return StepResult(
        loss=float("nan") if skipped else 1.0, grad_norm=1.0, lr=0.1, stop=False, skipped=skipped
    )


def test_a_loss_that_is_nan_stops_by_default():
    with pytest.raises(UserError, match=r"step 7: loss or gradient is NaN or infinite"):
        check_skips(result(True), 7, 0, Train())


def test_at_most_three_steps_in_a_row_are_skipped():
    train, in_a_row = Train(on_nan="skip"), 0
    for _ in range(3):
        in_a_row = check_skips(result(True), 7, in_a_row, train)
    assert check_skips(result(False), 8, in_a_row, train) == 0
    with pytest.raises(UserError, match="4 steps in a row"):
        check_skips(result(True), 8, in_a_row, train)
