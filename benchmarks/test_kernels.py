"""Time the element-wise kernels in ns per element: compiled, as NumPy expressions, and `scipy.special.expit`.

A kernel is an operation of a backend. One call of the backend runs the operation twenty times, so that the time of the
call itself is negligible.
"""

import numpy as np
import pytest

from fastbp.activations import ACTIVATIONS
from fastbp.costs import output_rule, quadratic
from fastbp.operations import Formulas
from fastbp.optimizers import Adam

SHAPE = (256, 1024)  # 1 MB in float32, which fits into the cache of one core
TIMES = 20


def twenty_times_3(p, q, r, operation):
    for _ in range(20):
        operation(p, q, r)


def twenty_times_4(p, q, r, s, operation):
    for _ in range(20):
        operation(p, q, r, s)


def twenty_times_6(p, q, r, s, t, u, operation):
    for _ in range(20):
        operation(p, q, r, s, t, u)


def twenty_gathers(x, indices, out, operation):
    for _ in range(20):
        operation(x, indices, 0.00392156862745098, out)


def twenty_optimizer_steps(constants, nabla, first, second, third, w, operation):
    for _ in range(20):
        operation(0.001, 0.0, 1.0, constants, nabla, first, second, third, w)


def timed(benchmark, what, dtype, run):
    benchmark.group = f"kernel {what}, {dtype}"
    benchmark.pedantic(run, rounds=15, warmup_rounds=1)
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_element"] = benchmark.stats.stats.median * 1e9 / (TIMES * SHAPE[0] * SHAPE[1])


def operations(backend, dtype, name):
    activation = ACTIVATIONS[name]
    formulas = Formulas((activation, activation), output_rule(activation, quadratic), bias=True, rule=Adam().rule)
    return backend.operations(formulas, dtype, "uint8")


def blocks(rng, backend, dtype, count):
    """Return random blocks in the form that the backend's operations take."""
    hosts = [rng.random(SHAPE).astype(dtype) for _ in range(count)]
    arrays = [backend.empty(SHAPE, dtype) for _ in hosts]
    for array, host in zip(arrays, hosts, strict=True):
        array[...] = backend.upload(host)
    return [backend.columns(array) for array in arrays]


def vector(backend, dtype, n=SHAPE[1]):
    array = backend.empty((1, n), dtype)
    array[...] = 0.5
    return backend.columns(array)


def repeat(backend, equation, *arguments):
    def run():
        backend.run(equation, *arguments)
        backend.synchronize()

    return run


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "softplus"])
def test_activate(benchmark, activation, backend, dtype, rng):
    layer = operations(backend, dtype, activation).layers[0]
    (a,) = blocks(rng, backend, dtype, 1)
    z = blocks(rng, backend, dtype, 1)[0] if layer.keeps_z else a
    run = repeat(backend, twenty_times_3, z, a, vector(backend, dtype), layer.activate)
    timed(benchmark, f"{activation}(z + b)", dtype, run)


def test_expit(benchmark, dtype, rng):
    from scipy.special import expit

    z, b = rng.random(SHAPE).astype(dtype), np.full(SHAPE[1], 0.5, dtype)

    def run():
        for _ in range(TIMES):
            np.add(z, b, out=z)
            expit(z, out=z)

    timed(benchmark, "sigmoid(z + b)", dtype, run)


@pytest.mark.parametrize("activation", ["sigmoid", "softplus"])
def test_hadamard(benchmark, activation, backend, dtype, rng):
    z, a, delta = blocks(rng, backend, dtype, 3)
    sums = blocks_of_sums(backend, dtype)
    run = repeat(backend, twenty_times_4, z, a, delta, sums, operations(backend, dtype, activation).layers[0].hadamard)
    timed(benchmark, f"δ ⊙ {activation}′", dtype, run)


def test_output_error(benchmark, backend, dtype, rng):
    z, a, y, delta = blocks(rng, backend, dtype, 4)
    s = backend.columns(backend.empty((SHAPE[0], 0), dtype))
    operation = operations(backend, dtype, "sigmoid").output_error
    run = repeat(backend, twenty_times_6, z, a, y, s, delta, blocks_of_sums(backend, dtype), operation)
    timed(benchmark, "(a − y) ⊙ σ′", dtype, run)


def test_gather(benchmark, backend, dtype, rng):
    images = backend.upload(rng.integers(0, 256, (10 * SHAPE[0], SHAPE[1]), np.uint8))
    indices = backend.upload(rng.permutation(10 * SHAPE[0])[: SHAPE[0]])
    (out,) = blocks(rng, backend, dtype, 1)
    run = repeat(backend, twenty_gathers, images, indices, out, operations(backend, dtype, "sigmoid").gather_x)
    timed(benchmark, "gather of uint8", dtype, run)


def test_optimizer_step(benchmark, backend, dtype, rng):
    nabla, first, second, w = [
        backend.columns(block) if backend.name != "numpy" else block for block in blocks(rng, backend, dtype, 4)
    ]
    constants = Adam().constants_of_steps(0.001, 0, 1)[0]
    operation = operations(backend, dtype, "sigmoid").optimizer_step
    third = backend.empty((0, 0), dtype)
    run = repeat(backend, twenty_optimizer_steps, constants, nabla, first, second, third, w, operation)
    timed(benchmark, "Adam", dtype, run)


def blocks_of_sums(backend, dtype):
    array = backend.empty((backend.n_partial_sums(SHAPE[0]), SHAPE[1]), dtype)
    return backend.columns(array)
