"""Assert that bad input is refused."""

import pytest

import fastbp


def refused(message, call, *arguments, **options):
    """Assert that a call raises `InputError` with a matching message of one line; return the message."""
    with pytest.raises(fastbp.InputError, match=message) as raised:
        call(*arguments, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)
