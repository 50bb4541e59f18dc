"""Specializing formulas: copies with the functions and numbers of a target, and fingerprints."""

import numpy as np
import pytest

from fastbp_kernels.specialize import FormulaError, fingerprint, lower
from fastbp_kernels.words import exp

SLOPE = 0.25


def scaled(z):
    return SLOPE * z


def nested(z):
    return exp(scaled(z)) + 1.5


def countdown(z):
    return countdown(z - 1.0)


def target(words=None):
    return {"decorate": lambda f: f, "words": words or {}, "number": np.float32}


def test_functions_and_numbers_are_replaced_in_everything_that_is_called():
    lowered = lower(nested, **target({exp: lambda x: x}))
    assert lowered(np.float32(2.0)) == np.float32(2.0)
    assert lowered(np.float32(2.0)).dtype == np.float32
    assert nested(0.0) == 2.5  # the original is unchanged


def test_closures_are_lowered_too():
    def factory(slope, inner):
        return lambda z: slope * inner(z)

    lowered = lower(factory(0.5, scaled), **target())
    assert lowered(np.float32(8.0)).dtype == np.float32
    assert lowered(np.float32(8.0)) == 1.0


def test_an_attribute_with_the_name_of_a_function_is_not_a_call():
    class Holder:
        scaled = 3

    def reads_an_attribute(holder):
        return holder.scaled

    assert lower(reads_an_attribute, **target())(Holder) == 3


def test_integers_are_unchanged():
    lowered = lower(lambda z: z**2, **target())
    assert 2 in lowered.__code__.co_consts


@pytest.mark.parametrize("function", [max, np.exp, int])
def test_formulas_must_be_plain_functions(function):
    with pytest.raises(FormulaError, match=r"must be plain Python functions, got .*"):
        lower(function, **target())


def test_formulas_must_not_be_recursive():
    with pytest.raises(FormulaError, match="countdown calls itself"):
        lower(countdown, **target())


def test_a_fingerprint_distinguishes_equal_numbers_of_different_types_and_reused_addresses():
    def factory(number):
        return lambda z: number * z

    numbers = [1, 1.0, True, 0.0, -0.0, np.float32(1), np.float64(1)]
    assert len({fingerprint(factory(number)) for number in numbers}) == len(numbers)
    seen = [
        fingerprint(factory(np.float32(k))) for k in range(50)
    ]  # each is freed, and the next one may get its address
    assert len(set(seen)) == 50
    assert fingerprint(factory(np.float32(3))) == seen[3]
    assert fingerprint(factory([1.0])) != fingerprint(factory([1.0]))
    assert fingerprint(factory((1, 2))) == fingerprint(factory((1, 2))) != fingerprint(factory((1.0, 2)))
    assert hash(fingerprint(factory(([], 1)))) != hash(fingerprint(factory(([], 1))))
