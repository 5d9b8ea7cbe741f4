"""The first signal asks for an end, the second one ends at once."""

import os
import signal

import pytest

from snakelm.workflow.signals import StopRequest


@pytest.fixture
def interruptible():
    """Python's own handler of SIGINT, which a shell takes away from what it starts in the
    background.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_first_signal_asks_and_second_acts():
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
