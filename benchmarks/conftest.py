"""Fixtures of the benchmarks: the examples and the backends.

If a backend cannot be used, its tests are skipped with the reason.
"""

import numpy as np
import pytest

from benchmarks.mnist import EXAMPLES, Rows, training_rows
from fastbp import backends

FEW = 1_000  # examples with --benchmark-disable, which only checks that the benchmarks run
BACKENDS = ("numpy", "numpy-plain", "cupy")


@pytest.fixture(scope="session")
def data(request) -> Rows:
    """Return MNIST's training part, or random images. With --benchmark-disable, these are only a few."""
    rows = training_rows()
    count = FEW if request.config.getoption("benchmark_disable") else EXAMPLES
    return Rows(rows.images[:count], rows.labels[:count], rows.source)


@pytest.fixture(scope="session")
def unavailable_reason():
    return backends.available()


@pytest.fixture(params=BACKENDS)
def backend(request, unavailable_reason):
    if reason := unavailable_reason[request.param]:
        pytest.skip(f"{request.param}: {reason}")
    return backends.get(request.param)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(0)
