"""Activations and costs defined by users: compiled, recompiled after an edit, named in errors."""

import gc
import sys
import weakref

import numpy as np
import pytest
from refusals import refused

import fastbp
from fastbp.costs import output_rule, quadratic
from fastbp_kernels import words
from fastbp_kernels.formulas import cache_by_formula
from fastbp_kernels.specialize import fingerprint
from fastbp_kernels.words import exp

SCRIPT = """
import sys
import numpy as np
import fastbp
from fastbp_kernels.words import exp, where

SLOPE = 1.0

def gate(z):
    return SLOPE / (1.0 + exp(-z))

def f(z):
    return z * gate(z) * {factor}

def prime(z, a):
    s = gate(z)
    return {factor} * s * (1.0 + z * (1.0 - s))

own = fastbp.Activation("own", f, prime, needs_z=True)
results = []
for backend in ("numpy", "numpy-plain"):
    net = fastbp.Network([4, 5, 3], [own, "sigmoid"], rng=0, backend=backend)
    x = np.random.default_rng(1).random((4, 20), np.float32)
    history = net.train(x, np.arange(20) % 3, epochs=3, mini_batch_size=5, eta=0.5, progress=False)
    results.append(net.weights)
    if backend == "numpy":
        print(repr(history.cost[-1]))
        print(fastbp.check_gradients(net, x, np.arange(20) % 3) < 1e-7)
for compiled, interpreted in zip(*results):
    np.testing.assert_allclose(compiled, interpreted, rtol=1e-4, atol=1e-6)
"""


def test_an_edited_activation_is_recompiled_in_the_next_process(run_python):
    printed = []
    for factor in ("1.0", "1.0", "0.5"):  # the second run loads the machine code of the first, the third must not
        done = run_python(SCRIPT.replace("{factor}", factor))
        assert done.returncode == 0, done.stderr
        cost, checked = done.stdout.split()
        assert checked == "True"
        printed.append(float(cost))
    assert printed[0] == printed[1]
    assert printed[0] != printed[2]


def test_an_edited_helper_causes_recompilation(run_python):
    costs = []
    for slope in ("1.0", "0.25"):
        done = run_python(
            SCRIPT.replace("{factor}", "1.0")
            .replace("SLOPE = 1.0", f"SLOPE = {slope}")
            .replace("print(fastbp.check_gradients(net, x, np.arange(20) % 3) < 1e-7)", "pass")
        )
        assert done.returncode == 0, done.stderr
        costs.append(done.stdout)
    assert costs[0] != costs[1]


def softsign_f(z):
    return z / (1.0 + abs(z))


def softsign_prime(z, a):
    return (1.0 - abs(a)) * (1.0 - abs(a))


def test_formulas_are_compiled_and_not_interpreted():
    interpreted = set()
    for backend in ("numpy", "numpy-plain"):
        softsign = fastbp.Activation("softsign", softsign_f, softsign_prime)
        net = fastbp.Network([2, 3, 2], [softsign, "sigmoid"], rng=0, backend=backend)
        sys.setprofile(lambda frame, event, argument: interpreted.add((backend, frame.f_code)))  # noqa: B023
        net.train(np.ones((2, 4)), np.zeros((2, 4)), epochs=1, mini_batch_size=2, progress=False)
        sys.setprofile(None)
    for formula in (softsign_f, softsign_prime):
        assert ("numpy", formula.__code__) not in interpreted
        assert ("numpy-plain", formula.__code__) in interpreted


def test_an_edit_in_a_session_takes_effect_at_once():
    """As in a notebook: the function is the same, but a constant that it uses has changed."""
    namespace = {"exp": exp}
    source = """
def scaled(z):
    return slope * z
def f(z):
    return scaled(z)
def prime(z, a):
    return slope + 0.0 * a
"""
    outputs = []
    exec(source, namespace)
    for slope in (0.5, 0.25):
        namespace["slope"] = slope
        own = fastbp.Activation("own", namespace["f"], namespace["prime"])
        net = fastbp.Network([1, 1], own, bias=False)
        net.weights = [[[1.0]]]
        outputs.append(net.feedforward([1.0]).item())
    assert outputs == [0.5, 0.25]


def test_a_default_argument_is_a_constant_of_the_formula():
    def f(z, beta=1.5):
        return beta * z

    def prime(z, a, beta=1.5):
        return beta + 0.0 * a

    for backend in ("numpy", "numpy-plain"):
        net = fastbp.Network([2, 2], fastbp.Activation("scaled", f, prime), backend=backend, rng=0)
        assert fastbp.check_gradients(net, [0.1, 0.2], [1.0, 0.0]) < 1e-7


def test_a_formula_may_return_a_constant(backend):
    linear = fastbp.Cost("linear", lambda a, y: a - y, lambda a, y: 1.0)
    net = fastbp.Network([2, 3, 2], ["tanh", "identity"], linear, backend=backend, rng=0)
    net.train(np.ones((2, 4)), np.zeros((2, 4)), epochs=1, mini_batch_size=2, eta=0.1, progress=False)
    assert fastbp.check_gradients(net, [0.1, 0.2], [1.0, 0.0]) < 1e-7


def test_a_prime_that_reads_z_without_needs_z_is_refused():
    with pytest.raises(fastbp.InputError, match="activation 'cube': prime reads z; pass needs_z=True"):
        fastbp.Activation("cube", lambda z: z * z * z, lambda z, a: 3.0 * z * z)


def reads_a_module(z):
    return words.exp(z)


def bad_cost_prime(a, y):
    return 2 * (a - y) / 3


def test_an_error_in_a_cost_names_the_cost():
    net = fastbp.Network([2, 2], "identity", fastbp.Cost("own", lambda a, y: a - y, bad_cost_prime))
    with pytest.raises(fastbp.InputError, match=r"cost 'own': bad_cost_prime .* must compute in float32, got float64"):
        net.backprop([0.1, 0.2], [1.0, 0.0])


def integer_constants(z):
    return 1 / (1 + exp(-z))


def unknown_name(z):
    return frobnicate(z)  # noqa: F821


def opens_a_file(z):
    with open(z) as file:
        return file


def returns_text(z):
    return "z"


def good_prime(z, a):
    return a * (1.0 - a)


def bad_prime(z, a):
    return a * (1 - a)


@pytest.mark.parametrize(
    ("f", "prime", "reason"),
    [
        (
            integer_constants,
            good_prime,
            "must compute in float32, got float64: write numbers with a decimal point",
        ),
        (unknown_name, good_prime, "cannot be compiled: NameError: name 'frobnicate' is not defined"),
        (opens_a_file, good_prime, "cannot be compiled: The 'with"),
        (returns_text, good_prime, "must return a real number, got"),
        (
            reads_a_module,
            good_prime,
            "reads_a_module reads fastbp_kernels.words.…; import the names: from",
        ),
        (np.tanh, good_prime, "must be plain Python functions, got <ufunc 'tanh'>, a ufunc"),
        (lambda z: z, bad_prime, "bad_prime .* must compute in float32, got float64"),
    ],
)
@pytest.mark.parametrize("layer", ["hidden", "output"])
def test_a_formula_that_cannot_be_compiled_is_named_in_one_line(f, prime, reason, layer):
    broken = fastbp.Activation("broken", f, prime)
    names = [broken, "sigmoid"] if layer == "hidden" else ["sigmoid", broken]
    net = fastbp.Network([2, 3, 2], names)
    with pytest.raises(fastbp.InputError, match=f"activation 'broken': .*{reason}") as raised:
        net.train(np.ones((2, 4)), np.zeros((2, 4)), epochs=1, mini_batch_size=2, progress=False)
    assert "\n" not in str(raised.value)


def test_a_user_defined_cost():
    def f(a, y):
        return (a - y) * (a - y) * (a - y) * (a - y)

    def prime(a, y):
        return 4.0 * (a - y) * (a - y) * (a - y)

    net = fastbp.Network([3, 4, 2], ["tanh", "identity"], fastbp.Cost("fourth-power", f, prime), rng=0)
    x = np.random.default_rng(0).random((3, 6))
    assert fastbp.check_gradients(net, x, np.zeros((2, 6))) < 1e-6
    outputs = net.feedforward(x)
    assert net.cost(x, np.zeros((2, 6))) == pytest.approx(np.mean(np.sum(outputs**4, axis=0)), rel=1e-5)


def test_activations_made_in_a_loop_are_not_kept():
    """Each activation has a different slope, so nothing can be reused; the number of those kept is bounded."""

    @cache_by_formula
    def factory(formula, dtype):
        return {"made of": formula.__defaults__}  # a dict: if made again, equal but not identical

    def own(slope):
        return fastbp.Activation(f"own {slope}", lambda z, s=slope: s * z, lambda z, a, s=slope: s + 0.0 * a)

    def use(activation):
        output_rule(activation, quadratic)
        return factory(activation.f, "float32")

    def new_function(number):
        namespace = {}
        exec(f"def f(z): return {number}.5 * z", namespace)
        return namespace["f"]

    first = own(0.0)
    kernel = use(first)
    assert use(own(0.0)) is kernel
    gone = [weakref.ref(first), weakref.ref(first.f)]
    code = new_function(0)
    gone.append(weakref.ref(code.__code__))
    fingerprint(code)
    del first, code
    for number in range(1, 1500):
        if number < 200:
            last = use(own(float(number)))
        fingerprint(new_function(number))
    gc.collect()
    assert [reference() for reference in gone] == [None, None, None]
    assert use(own(199.0)) is last
    assert use(own(0.0)) is not kernel


def test_formulas_must_take_their_arguments():
    make, z, a = fastbp.Activation, lambda z: z, lambda a, y: a - y
    refused(r"activation 'x': f must take \(z\), got \(z, a\)$", make, "x", good_prime, good_prime)
    refused(r"activation 'x': prime must take \(z, a\), got \(z\)$", make, "x", z, z)
    refused(r"cost 'x': f must take \(a, y\), got \(z\)$", fastbp.Cost, "x", z, a)
    refused(r"cost 'x': prime must take \(a, y\), got \(z\)$", fastbp.Cost, "x", a, z)


def test_formulas_must_be_functions():
    with pytest.raises(fastbp.InputError, match=r"activation 'half': prime must be a function, got None"):
        fastbp.Activation("half", lambda z: z, None)
    with pytest.raises(fastbp.InputError, match=r"cost 'half': f must be a function, got 3"):
        fastbp.Cost("half", 3, lambda a, y: a)
