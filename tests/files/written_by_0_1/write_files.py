"""Write the files of this folder: `python write_files.py FOLDER`, with fastbp 0.1.0; see README.md."""

import contextlib
import json
import pickle
import shutil
import signal
import sys
import warnings
from pathlib import Path

import numpy as np

import fastbp
from fastbp import optimizers, schedules
from fastbp.book import network, network2
from fastbp_kernels.words import exp

X = (np.arange(240) * 37 % 101 / 101).reshape(60, 4)  # one example per row
Y = (X.sum(axis=1) > 2).astype(int)
SGD = {"epochs": 6, "mini_batch_size": 7, "eta": schedules.Step(0.5, every=2), "momentum": 0.9, "lmbda": 0.1}
ADAM = {"epochs": 8, "mini_batch_size": 7, "eta": 0.01, "optimizer": "adam", "validation": 0.25, "patience": 5}
OWN = {"epochs": 4, "mini_batch_size": 7, "eta": schedules.Cosine(0.5)}


def swish(z):
    return z / (1.0 + exp(-z))


def swish_prime(z, a):
    s = 1.0 / (1.0 + exp(-z))
    return s + a * (1.0 - s)


SWISH = fastbp.Activation("swish", swish, swish_prime, needs_z=True)
RUNS = {  # activations, cost, options, and after which call of `Watcher.advanced` Ctrl-C is pressed
    "checkpoint_momentum": (("tanh", "softmax"), "log-likelihood", SGD, 11),
    "checkpoint_adam": (("tanh", "softmax"), "log-likelihood", ADAM, 17),
    "checkpoint_own_activation": ((SWISH, "sigmoid"), "quadratic", OWN, 4),
}


def new_network(activations=("tanh", "softmax"), cost="log-likelihood", **options):
    return fastbp.Network([4, 3, 2], list(activations), cost, dtype="float64", backend="numpy", **options)


def train(net, options, **more):
    return net.train(X.T, Y, progress=False, **options, **more)


def result(net, history=None):
    """Return the numbers that a test compares."""
    found = {"outputs": np.asarray(net.feedforward(X[:5].T)).tolist()}
    found["weights"] = [np.asarray(w).tolist() for w in net.weights]
    found["biases"] = [np.asarray(b).tolist() for b in net.biases]
    if history is not None:
        found["cost"], found["best_epoch"] = history.cost, history.best_epoch
    return found


def predicted(estimator):
    return (estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict)(X[:5]).tolist()


def estimators():
    from fastbp.estimators import MLPClassifier, MLPRegressor  # which needs scikit-learn

    fitted = {
        "classifier": MLPClassifier((5,), max_iter=5, random_state=0).fit(X, Y),
        "classifier_sgd": MLPClassifier(
            (5,), solver="sgd", learning_rate="adaptive", early_stopping=True, max_iter=5, random_state=0
        ).fit(X, Y),
        "classifier_partial_fit": MLPClassifier((5,), random_state=0).partial_fit(X, Y, classes=[0, 1]),
        "classifier_sgd_partial_fit": MLPClassifier((5,), solver="sgd", random_state=0).partial_fit(
            X, Y, classes=[0, 1]
        ),
        "regressor": MLPRegressor((5,), max_iter=5, random_state=0).fit(X, X[:, 0]),
    }
    expected = {name: {"outputs": predicted(estimator)} for name, estimator in fitted.items()}
    for name in fitted.keys() - {"classifier_sgd"}:  # partial_fit does not allow early stopping
        again = pickle.loads(pickle.dumps(fitted[name]))
        again.partial_fit(X, X[:, 0] if name == "regressor" else Y)
        expected[name]["after_partial_fit"] = predicted(again)
    return fitted | {"classifier_unfitted": MLPClassifier((5,))}, expected


def networks():
    net = new_network(rng=0)
    history = train(net, {"epochs": 2})
    book, book2 = network.Network([4, 3, 2]), network2.Network([4, 3, 2], cost=network2.QuadraticCost)
    column = X[0].reshape(4, 1)
    objects = {
        "network": net,
        "history": history,
        "trace": net.trace(X[:3].T, Y[:3]),
        "optimizers": [optimizers.SGD(momentum=0.9), optimizers.SGD(0.5, nesterov=True), optimizers.Adam(beta_2=0.99)],
        "schedules": [SGD["eta"], OWN["eta"]],
        "formulas": [net.activations, net.cost_function],
        "book_network": book,
        "book_network2": book2,
    }
    expected = {
        "network": result(net, history),
        "network_trained": result(again := pickle.loads(pickle.dumps(net)), train(again, {"epochs": 2})),
        "trace": [np.asarray(delta).tolist() for delta in objects["trace"].deltas],
        "book_network": book.feedforward(column).tolist(),
        "book_network2": book2.feedforward(column).tolist(),
    }
    return objects, expected


def models(folder):
    """Save models, one of them with the state of a Philox generator that has drawn half of a 64-bit number."""
    rng = np.random.Generator(np.random.Philox(3))
    rng.integers(10, dtype=np.uint32)
    nets = {
        "model": new_network(rng=rng, input_scale=0.5),
        "model_without_biases": new_network(("relu", "sigmoid"), "cross-entropy", rng=1, bias=False),
        "model_float32": fastbp.Network([4, 3, 2], "sigmoid", dtype="float32", rng=2),
        "model_own_activation": new_network([SWISH, "sigmoid"], "quadratic", rng=3),
    }
    expected = {}
    for name, net in nets.items():
        train(net, {"epochs": 2})
        net.save(folder / f"{name}.safetensors")
        expected[name] = result(net)
        expected[f"{name}_trained"] = result(net, train(net, {"epochs": 2}))
    return expected


def interrupt_after(calls):
    """Press Ctrl-C within an epoch, after a number of calls of `Watcher.advanced`."""
    from fastbp import training

    advanced, made = training.Watcher.advanced, []

    def pressing(self, examples):
        made.append(examples)
        if len(made) == calls:
            training.Watcher.advanced = advanced
            signal.raise_signal(signal.SIGINT)

    training.Watcher.advanced = pressing


def checkpoints(folder):
    expected = {}
    for name, (activations, cost, options, calls) in RUNS.items():
        path, copy = folder / f"{name}.safetensors", folder / "copy"
        interrupt_after(calls)
        with contextlib.suppress(KeyboardInterrupt):
            train(new_network(activations, cost, rng=0), options, checkpoint=path)
        shutil.copy(path, copy)
        net = new_network(activations, cost, rng=0)
        expected[name] = result(net, train(net, options, checkpoint=copy, resume=True))
        uninterrupted = new_network(activations, cost, rng=0)
        assert result(uninterrupted, train(uninterrupted, options)) == expected[name]
        copy.unlink()
    return expected


def main(folder):
    warnings.simplefilter("ignore")  # scikit-learn's, that training has not converged
    objects, expected = {}, {}
    for made, results in (estimators(), networks()):
        objects |= made
        expected |= results
    for name, value in objects.items():
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(value, 4))
    expected |= models(folder) | checkpoints(folder)
    (folder / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
