"""Small networks and training options of every kind, to compare training on the CPU and on another backend."""

import numpy as np

import fastbp
from fastbp.optimizers import SGD, Adam

LAYERS = ["tanh", "softplus", "sigmoid"]
CASES = {
    "three activations": ([6, 5, 4, 3], {"activations": LAYERS}, {}),
    "softmax": ([6, 7, 3], {"activations": ["relu", "softmax"], "cost": "log-likelihood"}, {}),
    "no bias": ([6, 5, 3], {"activations": ["leaky-relu", "identity"], "bias": False}, {}),
    "cross-entropy, decay": ([6, 5, 3], {"cost": "cross-entropy"}, {"lmbda": 0.5}),
    "weighted": ([6, 5, 3], {}, {"sample_weight": np.arange(1.0, 54.0)}),
    "one neuron, one layer": ([6, 1], {}, {}),
    "momentum": ([6, 5, 3], {}, {"momentum": 0.5}),
    "Nesterov": ([6, 5, 3], {}, {"optimizer": SGD(0.5, nesterov=True), "lmbda": 0.1}),
    "dropout": ([6, 5, 4, 3], {"activations": LAYERS}, {"dropout": [0.1, 0.5, 0.3]}),
    "L-BFGS": ([6, 5, 3], {}, {"optimizer": "lbfgs", "mini_batch_size": None, "eta": None, "lmbda": 0.1}),
    "Adam": ([6, 5, 3], {"activations": LAYERS[1:]}, {"optimizer": Adam()}),
}


def case_data(rng, sizes):
    """Return 53 examples for a network of the given sizes."""
    return rng.random((6, 53)), rng.integers(0, 2, 53) if sizes[-1] == 1 else rng.integers(0, 3, 53)


def trained(backend, x, y, sizes, options, dtype, epochs=1, **training):
    net = fastbp.Network(sizes, dtype=dtype, backend=backend, rng=0, **options)
    history = net.train(x, y, epochs=epochs, progress=False, **training)
    return net, history


def on_host(net):
    """Return the parameters of a network on any backend as NumPy arrays."""
    host = net.to("numpy")
    return [*host.weights, *host.biases]


def assert_trained_alike(gpu, x, y, sizes, options, dtype, bound, **training):
    """Assert that a GPU, or its stand-in, trains like the compiled code of the CPU, within `bound`."""
    cpu, expected = trained("numpy", x, y, sizes, options, dtype, **training)
    net, got = trained(gpu, x, y, sizes, options, dtype, **training)
    for here, there in zip(on_host(net), on_host(cpu), strict=True):
        np.testing.assert_allclose(here, there, rtol=bound, atol=bound)
    np.testing.assert_allclose(got.cost, expected.cost, rtol=bound)
