"""Time inference on all examples: the outputs, the classes, and the floor (the products of feedforward alone)."""

import numpy as np
import pytest

import fastbp
from benchmarks.nets import NETS
from fastbp.bench.floor import make_floor
from fastbp.bench.grid import name_of
from fastbp.training import inference

ROUNDS = 5
SIZES = [sizes for sizes, _ in NETS if sizes != (784, 100, 10)]


@pytest.mark.parametrize("sizes", SIZES, ids=name_of)
@pytest.mark.parametrize("what", ["feedforward", "predict", "floor"])
def test_inference(benchmark, sizes, what, data, dtype, backend):
    x = data.images / np.dtype(dtype).type(255)
    benchmark.group = f"inference, {name_of(sizes)}, {dtype}"
    benchmark.extra_info["examples"] = len(x)
    net = fastbp.Network(sizes, dtype=dtype, backend=backend, rng=0)
    if what == "floor":
        if backend.name != "numpy":
            pytest.skip("only the floor of the CPU is timed")
        floor = make_floor(backend, sizes, dtype, x, inference.batch_size(sizes, len(x)), forward_only=True)
        benchmark.pedantic(floor, rounds=ROUNDS, warmup_rounds=1)
        return
    columns = backend.upload(x).T
    benchmark.extra_info["transferred_bytes"] = x.nbytes

    def infer():
        output = getattr(net, what)(columns)
        backend.synchronize()
        return output

    output = benchmark.pedantic(infer, rounds=ROUNDS, warmup_rounds=1)
    assert output.shape == ((10, len(x)) if what == "feedforward" else (len(x),))
