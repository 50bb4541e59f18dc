"""`warmup` compiles before training; a line on standard error reports compilation."""

import numpy as np
import pytest

import fastbp

TRAIN = """
import sys
import numpy as np
import fastbp
from fastbp_kernels.compile_events import on_compile
compiled = []
with on_compile(lambda: compiled.append(1)):
    if sys.argv[1] == "warmup":
        net = fastbp.Network([9, 4, 3], ["tanh", "softmax"], "log-likelihood", dtype="float64", rng=0)
        fastbp.warmup(net, optimizer="adam")
    else:
        net = fastbp.Network([5, 6, 7], ["tanh", "softmax"], "log-likelihood", dtype="float64", rng=0)
        net.train(np.zeros((5, 8)), np.arange(8) % 7, epochs=1, mini_batch_size=3, optimizer="adam", progress=False)
        net.train(np.zeros((5, 8), np.uint8), np.arange(8) % 7, epochs=1, mini_batch_size=3, progress=False)
        net.predict(np.zeros((5, 8)))
        net.feedforward(np.zeros((5, 3000)))
        net.cost(np.zeros((5, 8)), np.arange(8) % 7)
        net.backprop(np.zeros((5, 8)), np.arange(8) % 7)
        net.update_mini_batch(np.zeros((5, 8)), np.arange(8) % 7, 0.1)
print(len(compiled))
"""


def test_after_a_warmup_another_process_compiles_nothing(run_python, tmp_path):
    cache = str(tmp_path / "cache")
    first = run_python(TRAIN, "warmup", NUMBA_CACHE_DIR=cache)
    assert first.returncode == 0, first.stderr
    assert int(first.stdout) > 5
    second = run_python(TRAIN, "train", NUMBA_CACHE_DIR=cache)
    assert second.returncode == 0, second.stderr
    assert int(second.stdout) <= 1  # `no_step` of plain gradient descent, which Adam does not use


def test_a_cold_start_reports_compilation_once_and_a_warm_start_does_not(run_python, tmp_path):
    script = """
import numpy as np
import fastbp
fastbp.Network([3, 2], rng=0).train(np.ones((3, 4)), [0, 1, 0, 1], epochs=2, mini_batch_size=2)
"""
    printed = [run_python(script, NUMBA_CACHE_DIR=str(tmp_path / "cache")).stderr for _ in range(2)]
    line = "compiling; this takes some seconds the first time\n"
    assert [text.count(line) for text in printed] == [1, 0]
    assert printed[0].index(line) < printed[0].index("epoch 1/2")


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov"])
@pytest.mark.parametrize("backend", ["numpy", "numpy-plain"])
def test_a_warmup_changes_nothing(optimizer, backend):
    net = fastbp.Network([4, 3, 1], ["relu", "sigmoid"], "cross-entropy", bias=False, backend=backend, rng=0)
    before, drawn = [w.copy() for w in net.weights], net._rng.bit_generator.state
    assert fastbp.warmup(net, optimizer=optimizer) > 0.0
    for w, was in zip(net.weights, before, strict=True):
        np.testing.assert_array_equal(w, was)
    assert net._rng.bit_generator.state == drawn
