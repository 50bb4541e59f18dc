"""How tests say that something is refused."""

import pytest

import fastbp


def refused(message, call, *arguments, **options):
    """Assert that a call raises InputError with one line that has a message in it."""
    with pytest.raises(fastbp.InputError, match=message) as raised:
        call(*arguments, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)
