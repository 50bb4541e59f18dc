"""A plugin for pytest: after each test, no kernel may have failed, and no device may have been used wrongly."""

import cupy
import pytest
from stub_machine import MACHINE


@pytest.fixture(autouse=True)
def machine():
    """Forget what was logged before a test. Afterwards, do the work that is still enqueued, and look for faults."""
    finish()
    MACHINE.forget()
    yield MACHINE
    finish()
    assert MACHINE.errors == []
    assert MACHINE.faults() == []


def finish(*numbers: int) -> None:
    """Wait for devices, by default for both."""
    for number in numbers or (0, 1):
        cupy.cuda.Device(number).synchronize()
