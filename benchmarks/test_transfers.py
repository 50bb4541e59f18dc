"""Time transfers alone: examples from the host to the GPU, and parameters back."""

import numpy as np
import pytest

from fastbp import backends


@pytest.fixture
def gpu(unavailable_reason):
    if reason := unavailable_reason["cupy"]:
        pytest.skip(f"cupy: {reason}")
    return backends.get("cupy")


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_upload_of_examples(benchmark, kind, gpu, data):
    rows = data.images if kind == "uint8" else data.images / np.float32(255)
    benchmark.group = "transfers, examples to the GPU"
    benchmark.extra_info["bytes"] = rows.nbytes

    def run():
        gpu.upload(rows)
        gpu.synchronize()

    benchmark.pedantic(run, rounds=9, warmup_rounds=1)


def test_parameters_to_the_host(benchmark, gpu):
    w = gpu.empty((1024, 1024), "float32")
    w[...] = 0.5
    benchmark.group = "transfers, parameters to the host"
    benchmark.extra_info["bytes"] = 4 * 1024 * 1024
    host = benchmark.pedantic(gpu.to_host, (w,), rounds=9, warmup_rounds=1)
    assert (host == 0.5).all()
