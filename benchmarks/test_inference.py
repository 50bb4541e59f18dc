"""Inference on all examples: the outputs, the classes, and the bare products of feeding forward."""

import numpy as np
import pytest

import fastbp
from benchmarks.floor import Floor
from benchmarks.nets import NETS
from fastbp.training import inference

ROUNDS = 5
SIZES = [sizes for sizes, _ in NETS if sizes != (784, 100, 10)]


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "-".join(map(str, sizes)))
@pytest.mark.parametrize("what", ["feedforward", "predict", "bare products"])
def test_inference(benchmark, sizes, what, data, dtype, backend):
    x = data.images / np.dtype(dtype).type(255)
    benchmark.group = f"inference, {'-'.join(map(str, sizes))}, {dtype}"
    benchmark.extra_info["examples"] = len(x)
    net = fastbp.Network(sizes, dtype=dtype, backend=backend, rng=0)
    if what == "bare products":
        if backend.name != "numpy":
            pytest.skip("the floor is the CPU's")
        floor = Floor(sizes, inference.batch_size(sizes, len(x)), x)
        benchmark.pedantic(floor.forward, rounds=ROUNDS, warmup_rounds=1)
        return
    columns = backend.upload(x).T
    benchmark.extra_info["transferred_bytes"] = x.nbytes

    def infer():
        found = getattr(net, what)(columns)
        backend.synchronize()
        return found

    found = benchmark.pedantic(infer, rounds=ROUNDS, warmup_rounds=1)
    assert found.shape == ((10, len(x)) if what == "feedforward" else (len(x),))
