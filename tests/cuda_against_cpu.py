"""Compare each CUDA kernel with the CPU kernel of the same formulas on the same arguments, by executing the PTX."""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastbp.activations import ACTIVATIONS, exponential, sigmoid, softmax
from fastbp.costs import COSTS, output_rule, quadratic
from fastbp.errors import InputError
from fastbp.optimizers import OPTIMIZERS, Optimizer
from fastbp_kernels.cpu import dropout_loops
from fastbp_kernels.cpu import loops as cpu
from fastbp_kernels.words import exp
from ptx import run

TOLERANCE = {"float32": 2e-6, "float64": 4e-15}
"""Relative to max(1, |value|): about 16 units in the last place, for exp and functions of it. On a GPU,
`ex2.approx.ftz.f32` has an error of 2 more (NVIDIA's PTX manual); the interpreter rounds it exactly. Both flush
denormals to zero, which is within the tolerance."""
SHAPES = [
    (1, 1),
    (1, 7),
    (16, 1),
    (17, 31),
    (33, 32),
    (8, 33),
    (9, 257),
    (130, 5),
]  # (m, n), around the sizes of blocks and of partial sums


class Pair(NamedTuple):
    """A kernel on both targets: a function of (module, dtype), one that draws arguments, and the (m, n) argument."""

    make: Callable[[Any, str], Any]
    arguments: Callable[[np.random.Generator, int, int, str], dict[str, Any]]
    block: str


@njit
def _call(kernel, arguments):
    kernel(*arguments)


def compare(cuda, pair, dtype, arguments, geometry=None, by=None):
    """Run both kernels on copies of the arguments, the CUDA kernel interpreted or `by` a GPU; compare all arrays."""
    m, n = arguments[pair.block].shape
    on_cpu, on_gpu = copies(arguments), copies(arguments)
    if "sums" in arguments and pair.block != "sums":
        on_gpu["sums"] = np.full((cuda.n_partial_sums(m), arguments["sums"].shape[1]), np.nan, dtype)
    if "total" in arguments:
        on_gpu["total"] = np.zeros((max(m, cuda.n_partial_sums(m) * n), 2), dtype)
    _call(pair.make(cpu, dtype), tuple(on_cpu.values()))
    (by or execute)(pair.make(cuda, dtype), *flat(on_gpu), m, n, geometry=geometry)
    for name, expected in on_cpu.items():
        if isinstance(expected, np.ndarray):
            _assert_close(name, on_gpu[name], expected, TOLERANCE[dtype])


def _assert_close(name, got, expected, bound):
    if name == "sums":  # of up to 130 terms, some of which cancel
        got, expected, bound = got.sum(axis=0), expected.sum(axis=0), 20 * bound
    elif name == "total":
        got, expected, bound = got.astype(np.float64).sum(), expected[0], 20 * bound
    np.testing.assert_allclose(got, expected, rtol=bound, atol=bound, err_msg=name)


def with_fault(module, old, new):
    """Return a copy of a module of CUDA kernels in which the first occurrence of a text is replaced."""
    source = inspect.getsource(module)
    assert old in source
    copy = ModuleType("fastbp_kernels.cuda_with_a_fault")
    exec(compile(source.replace(old, new, 1), "cuda_with_a_fault.py", "exec"), vars(copy))
    return copy


def execute(kernel, *arguments, geometry=None):
    """Interpret the PTX of a kernel, with the launch that CuPy would get."""
    grid, block, shared_bytes = geometry or kernel.geometry(*arguments[-2:])
    return run(kernel.ptx, grid, block, *kernel.packed(*arguments), shared_bytes=shared_bytes)


def flat(arguments):
    """Return the arguments of a CUDA kernel: it takes an optimizer's numbers as an array, and n at the end."""
    values = {name: value for name, value in arguments.items() if name != "n"}
    if "constants" not in values:
        return list(values.values())
    eta, decay, t, constants, *arrays = values.values()
    return [np.array([eta, t, *constants], arrays[0].dtype), decay, *arrays]


def copies(arguments):
    """Return arguments with copies of the arrays. Arguments that were the same array still are."""
    memo = {}
    return {
        name: memo.setdefault(id(value), value.copy()) if isinstance(value, np.ndarray) else value
        for name, value in arguments.items()
    }


def few_threads(kernel, m, n):
    """Return a launch with so few threads that each takes strides along x and y, if the kernel has strides."""
    usual = kernel.geometry(m, n)
    if kernel.name in ("add_cost", "add_squares", "optimizer_step"):
        return usual
    if usual.shared_bytes:
        return usual._replace(grid=(2, 1))
    return (
        usual._replace(grid=(2, 2), block=(4, 2)) if usual.block[1] > 1 else usual._replace(grid=(2, 1), block=(8, 1))
    )


def _drawn(rng, m, n, dtype):
    """Return random numbers of all magnitudes, some of them special."""
    values = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-3, 2, (m, n))
    special = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-40, 88.0, -104.0, 1e30]
    chosen = rng.random((m, n)) < 0.1
    values[chosen] = rng.choice(special, int(chosen.sum()))
    return values.astype(dtype)


def _plain(rng, m, n, dtype):
    return rng.standard_normal((m, n)).astype(dtype)


def _for_activate(rng, m, n, dtype, *, keep_z):
    a = _drawn(rng, m, n, dtype)
    return {"z": _drawn(rng, m, n, dtype) if keep_z else a, "a": a, "b": _plain(rng, 1, n, dtype)}


def _for_softmax(rng, m, n, dtype):
    z = 30 * _plain(rng, m, n, dtype)
    return {"z": z, "a": np.zeros_like(z), "b": _plain(rng, 1, n, dtype)}


def _for_hadamard(rng, m, n, dtype, *, bias):
    z, delta = _drawn(rng, m, n, dtype), _plain(rng, m, n, dtype)
    return {"z": z, "a": np.tanh(z), "delta": delta, "sums": np.zeros((1, n if bias else 0), dtype)}


def _for_output(rng, m, n, dtype, *, activation, weighted):
    z = 3 * _plain(rng, m, n, dtype)
    with np.errstate(all="ignore"):
        a = activation.f(z.T).T.astype(dtype)
    y = rng.random((m, n)).astype(dtype)
    s = rng.random((m, 1 if weighted else 0)).astype(dtype)
    return {"z": z, "a": np.ascontiguousarray(a), "y": y, "s": s}


def _for_output_error(rng, m, n, dtype, *, bias, **options):
    sums = np.zeros((1, n if bias else 0), dtype)
    return _for_output(rng, m, n, dtype, **options) | {"delta": np.zeros((m, n), dtype), "sums": sums}


def _for_cost(rng, m, n, dtype, **options):
    return _for_output(rng, m, n, dtype, **options) | {"total": np.zeros(1)}


def _for_add_squares(rng, m, n, dtype):
    return {"factor": 0.3, "w": _plain(rng, m, n, dtype), "total": np.zeros(1)}


def _for_gather(rng, m, n, dtype, *, source):
    x = rng.integers(0, 256, (50, n)).astype(source or dtype)
    indices = rng.integers(0, 50, m)
    x.flags.writeable = indices.flags.writeable = False
    return {"x": x, "indices": indices, "scale": 0.25, "out": np.zeros((m, n), dtype)}


def _for_dropout(rng, m, n, dtype, *, in_place):
    a, keys = _plain(rng, m, n, dtype), rng.integers(0, 2**32, 2)
    examples = rng.integers(0, 2**33, m)
    examples.flags.writeable = False
    scalars = {"threshold": 20_000, "scale": 1.5, "key_0": int(keys[0]), "key_1": int(keys[1]), "n": n}
    return scalars | {"examples": examples, "a": a, "out": a if in_place else np.zeros_like(a)}


def _for_add_column_sums(rng, m, n, dtype):
    return {"alpha": -0.3, "sums": _plain(rng, m, n, dtype), "beta": 0.9, "b": _plain(rng, 1, n, dtype)}


def _for_optimizer_step(rng, m, n, dtype, *, optimizer):
    state = [np.abs(_plain(rng, m, n, dtype)) for _ in range(3)]
    scalars = {"eta": 0.1, "decay": 0.01, "t": 3.0}
    constants = optimizer.constants_of_steps(0.1, 2, 1)[0]
    arrays = dict(zip(("first", "second", "third"), state, strict=True))
    return scalars | {
        "constants": constants,
        "nabla": _plain(rng, m, n, dtype),
        **arrays,
        "w": _plain(rng, m, n, dtype),
    }


def three_states(w, g, a, b, c, eta, decay, t, k):
    """Return the new parameter and state of a user's optimizer."""
    a = 0.5 * a + g
    b = b + k * g * g
    return w - eta * (a + decay * w) / (b + t), a, b, c + a


THREE_STATES = Optimizer("three states", three_states, state=("a", "b", "c"), constants={"k": 0.25})


def swish(z):
    """Return z σ(z), a user-defined activation."""
    return z / (1.0 + exp(-z))


def _pairs():
    """Yield the kernels of all formulas of fastbp, by name."""
    for g in ACTIVATIONS.values():
        if g == softmax:
            continue
        for bias, keep_z in ((True, g.needs_z), (False, True)):
            yield (
                f"activate {g.name} bias={bias} keep_z={keep_z}",
                Pair(
                    lambda k, dtype, g=g, b=bias, z=keep_z: k.activate(g.f, dtype, bias=b, keep_z=z),
                    lambda *shape, z=keep_z: _for_activate(*shape, keep_z=z),
                    "a",
                ),
            )
        for bias in (True, False):
            yield (
                f"hadamard {g.name} bias={bias}",
                Pair(
                    lambda k, dtype, g=g, b=bias: k.hadamard(g.prime, dtype, **_of_cuda(k, bias=b)),
                    lambda *shape, b=bias: _for_hadamard(*shape, bias=b),
                    "delta",
                ),
            )
    yield (
        "activate swish",
        Pair(
            lambda k, dtype: k.activate(swish, dtype, bias=True, keep_z=True),
            lambda *shape: _for_activate(*shape, keep_z=True),
            "a",
        ),
    )
    for bias in (True, False):
        yield f"softmax bias={bias}", Pair(lambda k, dtype, b=bias: k.softmax(dtype, bias=b), _for_softmax, "z")
    yield from _output_pairs()
    yield from _other_pairs()


def _output_pairs():
    for g in ACTIVATIONS.values():
        for cost in COSTS.values():
            if cost != quadratic and g not in (sigmoid, exponential, softmax):
                continue  # such a pair only multiplies derivatives that are tested in other pairs
            try:
                rule = output_rule(g, cost)
            except InputError:
                continue
            for weighted in (True, False):
                options = {"activation": g, "weighted": weighted}
                for bias in (True, False) if g == sigmoid else (True,):
                    yield (
                        f"output_error {g.name} {cost.name} weighted={weighted} bias={bias}",
                        Pair(
                            lambda k, dtype, r=rule, w=weighted, b=bias: k.output_error(
                                r.error, dtype, weighted=w, **_of_cuda(k, bias=b)
                            ),
                            lambda *shape, o=options, b=bias: _for_output_error(*shape, bias=b, **o),
                            "delta",
                        ),
                    )
                if g == softmax:
                    make = lambda k, dtype, w=weighted: k.add_log_likelihood(dtype, weighted=w)
                else:
                    make = lambda k, dtype, r=rule, w=weighted: k.add_cost(r.cost, dtype, weighted=w)
                yield (
                    f"add_cost {g.name} {cost.name} weighted={weighted}",
                    Pair(make, lambda *shape, o=options: _for_cost(*shape, **o), "z"),
                )


def _other_pairs():
    for source in (None, "uint8"):
        yield (
            f"gather {source or 'same dtype'}",
            Pair(
                lambda k, dtype, s=source: k.gather(s or dtype, dtype),
                lambda *shape, s=source: _for_gather(*shape, source=s),
                "out",
            ),
        )
    for in_place in (True, False):
        yield (
            f"dropout in_place={in_place}",
            Pair(
                lambda k, dtype: (dropout_loops if k is cpu else k).dropout(dtype),
                lambda *shape, o=in_place: _for_dropout(*shape, in_place=o),
                "out",
            ),
        )
    yield "add_squares", Pair(lambda k, dtype: k.add_squares(dtype), _for_add_squares, "w")
    yield "add_column_sums", Pair(lambda k, dtype: k.add_column_sums(dtype), _for_add_column_sums, "sums")
    for optimizer in (*OPTIMIZERS.values(), THREE_STATES):
        if (rule := optimizer.rule) is None:
            continue
        yield (
            f"optimizer_step {optimizer}",
            Pair(
                lambda k, dtype, r=rule: k.optimizer_step(r.formula, dtype, state=r.state, constants=r.constants),
                lambda *shape, o=optimizer: _for_optimizer_step(*shape, optimizer=o),
                "w",
            ),
        )


def _of_cuda(kernels, **options):
    """Return options that only CUDA kernels have."""
    return {} if kernels is cpu else options


PAIRS = dict(_pairs())
