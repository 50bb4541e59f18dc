"""`check_formula`: it passes the formulas of fastbp, and names the mistake in wrong ones."""

import math
from importlib.util import find_spec

import pytest
from refusals import refused

import fastbp
from fastbp.activations import ACTIVATIONS
from fastbp.costs import COSTS
from fastbp.math import exp, log, maximum, tanh, where

SLOPE = 2


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"softmax"}))
def test_the_activations_of_fastbp_pass(name):
    g = ACTIVATIONS[name]
    report = fastbp.check_formula(g.f, g.prime)
    assert report.kind == "activation"
    assert report.needs_z == g.needs_z
    assert report.largest_error < 1e-9


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
def test_the_costs_of_fastbp_pass(cost):
    report = fastbp.check_formula(cost.f, cost.prime, within=cost.within)
    assert report == ("cost", False, report.largest_error, report.cuda)
    assert report.largest_error < 1e-9


@pytest.mark.cuda
def test_formulas_are_compiled_for_cuda_if_numba_cuda_is_installed():
    installed = True if find_spec("numba_cuda") else None
    for formulas in (ACTIVATIONS["gelu"], COSTS["huber"]):
        assert fastbp.check_formula(formulas.f, formulas.prime).cuda is installed


@pytest.mark.cuda
def test_a_formula_that_compiles_only_for_the_cpu_is_refused():
    pytest.importorskip("numba_cuda")

    def f(z):
        return z if len(str(1)) == 1 else -z  # CUDA has no strings

    refused("f or prime cannot be used on CUDA", fastbp.check_formula, f, lambda z, a: 1.0)


def one(z, a):
    return 1.0


def no_argument():
    return 1.0


WRONG = {
    "a builtin": (max, one, r"f must be a Python function \(def or lambda\), got <built-in function max>"),
    "a class": (lambda z: z, float, r"prime must be a Python function"),
    "no argument": (no_argument, one, r"f must have the arguments f\(z\) or f\(a, y\), got f\(\)"),
    "prime of one": (lambda z: z, lambda z: 1.0, r"prime must have the arguments prime\(z, a\) or .* got prime\(z\)"),
    "an integer": (lambda z: 1 / (1 + exp(-z)), one, r"f: .* must compute in float32, got float64: write numbers with"),
    "an integer constant": (lambda z: SLOPE / 3 * z, one, r"f: .* must compute in float32, got float64"),
    "an unknown name": (lambda z: exq(z), one, r"f: .* cannot be compiled: .*exq"),  # noqa: F821
    "a tuple": (lambda z: (z, z), one, r"f: .* must return a real number, got UniTuple"),
    "if": (lambda z: z if z > 0.0 else 0.0, one, r"f must take arrays: .* where\(condition, p, q\) instead of if; got"),
    "math.exp": (lambda z: math.exp(z), one, r"f must take arrays: use the functions of fastbp\.math"),
    "NaN is hidden": (
        lambda z: where(z > 0.0, z, 0.0),
        lambda z, a: where(a > 0.0, 1.0, 0.0),
        r"f must be NaN where its argument is NaN, so that training stops, got 0",
    ),
    "overflow": (
        lambda z: log(1.0 + exp(z)),
        lambda z, a: exp(z) / (1.0 + exp(z)),
        r"prime\(z, a\) must not be NaN, got NaN at z = 100 in float32",
    ),
    "NaN for negative numbers": (lambda z: log(z), one, r"f\(z\) must not be NaN, got NaN at z = -7\.9.* in float32"),
    "a cost outside its bounds": (
        lambda a, y: -y * log(a),
        lambda a, y: -y / a,
        r"f\(a, y\) must not be NaN, got NaN at a = -4\.\d*, y = -5 in float32; pass within=\(0\.0, 1\.0\)",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_named_in_one_line(mistake):
    f, prime, message = WRONG[mistake]
    refused(message, fastbp.check_formula, f, prime)


def test_bounds_must_be_a_pair():
    refused("within must be a pair of numbers", fastbp.check_formula, lambda z: z, one, within=3)


WRONG_DERIVATIVES = {
    "tanh": (lambda z: tanh(z), lambda z, a: 1.0 - a, r"at z = -7\.98\d* it is 2, but finite differences give"),
    "a wrong sign": (lambda a, y: (a - y) * (a - y), lambda a, y: 2.0 * (y - a), r"at a = .*, y = .* it is"),
    "wrong on one side": (lambda z: maximum(z, 0.0), lambda z, a: where(z > 0.0, 0.99, 0.0), r"it is 0\.99, but .* 1$"),
    "a small error": (lambda z: tanh(z), lambda z, a: 1.0 - a * a + 1e-6, r"prime is not the derivative of f"),
}


@pytest.mark.parametrize("name", WRONG_DERIVATIVES)
def test_a_wrong_derivative_is_an_error(name):
    f, prime, message = WRONG_DERIVATIVES[name]
    with pytest.raises(fastbp.GradientError, match=message):
        fastbp.check_formula(f, prime)


@pytest.mark.parametrize("kink", [0.0, 1.0, -0.37, math.pi])
def test_points_near_a_kink_are_left_out(kink):
    report = fastbp.check_formula(lambda z: abs(z - kink), lambda z, a: where(z > kink, 1.0, -1.0))
    assert report.largest_error < 1e-9


def test_defaults_are_not_arguments():
    assert fastbp.check_formula(lambda z, slope=0.25: slope * z, lambda z, a, slope=0.25: slope).kind == "activation"
