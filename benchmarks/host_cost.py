"""The time that the host needs for a training step on a GPU, with a driver that does nothing: no GPU is needed.

    python -m benchmarks.host_cost

CuPy's arrays, the calls of cuBLAS through ctypes, and fastbp's code for launches are the real ones. The functions that
enqueue a launch, a product or a graph are replaced by functions that return at once, and nothing is computed. So the
figures are the cost of Python, and not the time of a step on a GPU. In the mode "eager", the part of CuPy that packs
the arguments of a launch is replaced too.

The modes (`fastbp.backends.cupy.replay`) are timed in turn, in processor time, so that other programs matter less. Two
bounds are checked: `MOST_READY` µs a step with recorded calls, and `MOST_GRAPH` with graphs. The exit code is 1 if a
bound is missed.
"""

import argparse
import ctypes
import sys
import time
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np

from benchmarks.replay_modes import prepared
from fastbp.backends.cupy.replay import MODES, replay_at_most
from fastbp.bench.candidates import cpu_name
from fastbp.bench.timing import in_turn, spread, warn_if_busy

MOST_READY, MOST_GRAPH = 30.0, 3.0  # µs a step
CASES = [
    ([784, 30, 10], 10, "sgd"),
    ([784, 30, 10], 10, "adam"),
    ([784, 800, 10], 100, "sgd"),
    ([784, 800, 10], 100, "adam"),
]
_STEPS = 2000  # per call, which is less than training takes in half a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="number of rounds, in each of which all modes are timed")
    arguments = parser.parse_args()
    warn_if_busy()
    print(f"host time per step in µs with a driver that does nothing, and its quartiles; {cpu_name()}")
    print(f"{'network × mini-batch':<26}{'calls':>6}" + "".join(f"{mode:>20}" for mode in MODES))
    missed = []
    with null_driver() as make_backend:
        for sizes, m, optimizer in CASES:
            name = f"{'-'.join(map(str, sizes))} × {m}, {optimizer}"
            calls, figures = measured(make_backend, sizes, m, optimizer, arguments.rounds)
            cells = (f"{1e6 * s.median:.3g} ({1e6 * s.low:.3g}–{1e6 * s.high:.3g})" for s in figures.values())
            print(f"{name:<26}{calls:>6}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
            for mode, most in (("ready", MOST_READY), ("graph", MOST_GRAPH)):
                if not figures[mode].meets(upper=most * 1e-6):
                    missed.append(f"{name}: {mode} needs more than {most:g} µs a step")
    print(
        "\n".join(missed) or f"within the bounds: {MOST_READY:g} µs with recorded calls, {MOST_GRAPH:g} µs with graphs"
    )
    sys.exit(1 if missed else 0)


def measured(make_backend, sizes, m, optimizer, rounds):
    """Return the number of calls in a recorded step, and the seconds per step in each mode, timed in turn."""
    tasks, runs = {}, {}
    for mode in MODES:
        backend = make_backend()
        with replay_at_most(mode):
            take, _, runs[mode] = prepared(backend, sizes, m, "float32", optimizer, _STEPS, 10 * m)
        assert runs[mode].mode == mode, backend.device.refused
        tasks[mode] = _timed(take, mode)
    found = list(in_turn(tasks, range(rounds), _raise))
    ready = getattr(runs["ready"], "replay", runs["ready"])
    return len(ready._ready), {mode: spread([figures[mode] / _STEPS for figures in found]) for mode in MODES}


def _timed(take, mode):
    def task():
        with replay_at_most(mode):
            start = time.thread_time()
            take(_STEPS)
            return time.thread_time() - start

    return task


def _raise(name, error):
    raise error


@contextmanager
def null_driver():
    """Replace the functions of CuPy that need a GPU. Yield a function that returns a new backend on CuPy's arrays."""
    try:
        import cupy
        import cupy.cublas
        from cupy.cuda import device as cupy_device
        from cupy_backends.cuda.api import driver
        from cupy_backends.cuda.libs import cublas
    except ImportError as error:
        sys.exit(f"host_cost needs CuPy and numba-cuda, but no GPU: pip install 'fastbp[cuda13]' ({error})")
    from fastbp.backends.cupy import device
    from fastbp.backends.cupy.cublas_entry import CuBLAS
    from fastbp_kernels.cuda import compilation

    def array(host):
        owner = cupy.cuda.UnownedMemory(host.ctypes.data, max(host.nbytes, 1), host, 0)
        return cupy.ndarray(host.shape, host.dtype, memptr=cupy.cuda.MemoryPointer(owner, 0))

    null = ctypes.CDLL(None).abs  # of the null pointer; its result 0 means success. Further arguments do not matter.
    names = ("Sgemm_v2", "Dgemm_v2", "SetStream_v2", "SetWorkspace_v2", "SetMathMode", "SetPointerMode_v2")
    entries = CuBLAS(SimpleNamespace(**{f"cublas{name}": null for name in names}))
    graph = SimpleNamespace(launch=_nothing)
    stream = SimpleNamespace(ptr=1, begin_capture=_nothing, end_capture=lambda: graph, synchronize=_nothing)
    function = _Function()
    replaced = [
        (cupy, "empty", lambda shape, dtype: array(np.zeros(shape, dtype))),
        (cupy, "asarray", lambda host: array(host.copy())),
        (cupy, "asnumpy", lambda given: np.zeros(given.shape, given.dtype)),
        (cupy.cuda, "Device", lambda number: _Device()),
        (cupy.cuda, "Stream", lambda *, non_blocking: stream),
        (cupy.cuda, "get_current_stream", lambda: stream),
        (cupy.cuda.runtime, "getDevice", lambda: 0),
        (cupy_device, "get_cublas_handle", lambda: 0),
        (driver, "launchKernel", _nothing),
        *((cublas, name, _nothing) for name in ("getPointerMode", "setPointerMode", "sgemm", "dgemm")),
        (compilation, "_loaded", lambda kernel, number: function),
        (device, "cublas", lambda: entries),
        (device.CuPyDevice, "assign", _nothing),
    ]
    patches = [patch.object(owner, name, value) for owner, name, value in replaced]
    for each in patches:
        each.start()
    try:
        yield lambda: device.CuPy("cupy", device.CuPyDevice(0))
    finally:
        for each in patches:
            each.stop()


def _nothing(*arguments, **named):
    return None


class _Function:
    """Takes the place of a loaded kernel."""

    ptr = 1

    def __call__(self, grid, block, arguments, *, shared_mem):
        return None


class _Device(nullcontext):
    compute_capability = "90"


if __name__ == "__main__":
    main()
