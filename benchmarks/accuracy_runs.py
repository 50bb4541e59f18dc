"""Train a network on MNIST with one library, in a process of its own, until enough test images are classified right.

    python -m benchmarks.accuracy_runs LIBRARY SEED FOLDER TARGET

`benchmarks.time_to_accuracy` starts these processes and times them from outside. Each library is used as in its
documentation, with its default number of threads. This file imports only NumPy before the library, because imports are
part of the time. FOLDER contains the examples that `write_examples` has written.

After each epoch, all test images are classified. Training ends when the share of right answers is at least TARGET, or
after `MAX_EPOCHS`. The process prints a line of JSON with the accuracies, and with the system time at the end of each
stage.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = Any
MAX_EPOCHS = 20
CLASSES = 10


class Part(NamedTuple):
    """Images as bytes, one per row, and their labels."""

    images: Array
    labels: Array


class Recipe(NamedTuple):
    """How a library trains a network with one hidden layer of ReLU, with softmax at the output.

    `etas` has one η for each of the first epochs. Its last value is also used in all later epochs.
    """

    hidden: int
    mini_batch: int
    optimizer: str
    etas: tuple[float, ...]

    def eta(self, epoch: int) -> float:
        """Return η for an epoch, counted from 0.

        >>> recipe = Recipe(80, 10, "sgd", (0.25, 0.1))
        >>> recipe.eta(0), recipe.eta(1), recipe.eta(2)
        (0.25, 0.1, 0.1)
        """
        return self.etas[min(epoch, len(self.etas) - 1)]

    def __str__(self) -> str:
        etas = ", ".join(f"{eta:g}" for eta in self.etas)
        return f"784-{self.hidden}-10, {self.optimizer}, mini-batch {self.mini_batch}, η {etas}"


Mark = Callable[[str], None]


def fastbp(recipe: Recipe, seed: int, training: Part, test: Part, mark: Mark) -> Iterator[float]:
    from fastbp import Network

    mark("imports")
    net = Network(
        [training.images.shape[1], recipe.hidden, CLASSES], activations=["relu", "softmax"], cost="log-likelihood",
        rng=seed, input_scale=1 / 255,
    )  # fmt: skip
    first, last = net.weights
    net.weights, net.biases = [np.sqrt(np.float32(2)) * first, last], [0 * b for b in net.biases]  # usual for ReLU
    for epoch in range(MAX_EPOCHS):
        net.train(
            training.images.T, training.labels, epochs=1, mini_batch_size=recipe.mini_batch, eta=recipe.eta(epoch),
            optimizer=recipe.optimizer, progress=False,
        )  # fmt: skip
        yield net.accuracy(test.images.T, test.labels)


def scikit_learn(recipe: Recipe, seed: int, training: Part, test: Part, mark: Mark) -> Iterator[float]:
    from sklearn.neural_network import MLPClassifier

    mark("imports")
    (eta,) = recipe.etas  # `partial_fit` keeps η
    net = MLPClassifier(
        (recipe.hidden,), solver=recipe.optimizer, batch_size=recipe.mini_batch, learning_rate_init=eta,
        random_state=seed,
    )  # fmt: skip
    x, x_test = (images / np.float32(255) for images in (training.images, test.images))
    for _ in range(MAX_EPOCHS):
        net.partial_fit(x, training.labels, classes=np.arange(CLASSES))
        yield float(net.score(x_test, test.labels))


def pytorch(recipe: Recipe, seed: int, training: Part, test: Part, mark: Mark) -> Iterator[float]:
    import torch

    mark("imports")
    torch.manual_seed(seed)
    x, x_test = (torch.from_numpy(images).float() / 255 for images in (training.images, test.images))
    y, y_test = (torch.from_numpy(labels) for labels in (training.labels, test.labels))
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], recipe.hidden), torch.nn.ReLU(), torch.nn.Linear(recipe.hidden, CLASSES)
    )
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[recipe.optimizer]
    optimizer, cost = kind(net.parameters(), lr=recipe.eta(0)), torch.nn.CrossEntropyLoss()
    for epoch in range(MAX_EPOCHS):
        optimizer.param_groups[0]["lr"] = recipe.eta(epoch)
        for batch in torch.randperm(len(x)).split(recipe.mini_batch):
            optimizer.zero_grad()
            cost(net(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.inference_mode():
            yield float((net(x_test).argmax(1) == y_test).float().mean())


def jax(recipe: Recipe, seed: int, training: Part, test: Part, mark: Mark) -> Iterator[float]:
    import jax
    from jax import numpy as jnp

    mark("imports")
    rng, m, n = np.random.default_rng(seed), recipe.mini_batch, len(training.labels)

    def logits(p: Any, x: Array) -> Array:
        (w_1, b_1), (w_2, b_2) = p
        return jax.nn.relu(x @ w_1 + b_1) @ w_2 + b_2

    def cost(p: Any, x: Array, y: Array) -> Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(logits(p, x)), y[:, None], 1).mean()

    @jax.jit
    def train(p: Any, eta: float, x: Array, y: Array, order: Array) -> Any:
        def step(p: Any, batch: Array) -> tuple[Any, None]:
            nabla = jax.grad(cost)(p, x[batch], y[batch])
            return jax.tree.map(lambda theta, g: theta - eta * g, p, nabla), None

        return jax.lax.scan(step, p, order.reshape(-1, m))[0]

    @jax.jit
    def accuracy(p: Any, x: Array, y: Array) -> Array:
        return (logits(p, x).argmax(1) == y).mean()

    sizes = training.images.shape[1], recipe.hidden, CLASSES
    p = [
        (rng.normal(0, np.sqrt(2 / n_in), (n_in, n_out)).astype(np.float32), np.zeros(n_out, np.float32))
        for n_in, n_out in pairwise(sizes)
    ]
    data, data_test = ((jnp.asarray(x, jnp.float32) / 255, jnp.asarray(y)) for x, y in (training, test))
    for epoch in range(MAX_EPOCHS):
        order = rng.permutation(n)[: n // m * m].astype(np.int32)
        p = train(p, recipe.eta(epoch), *data, order)
        yield float(accuracy(p, *data_test))


RUNS: dict[str, Callable[..., Iterator[float]]] = {
    "fastbp": fastbp, "JAX": jax, "PyTorch": pytorch, "scikit-learn": scikit_learn,
}  # fmt: skip
RECIPES = {
    "fastbp": Recipe(90, 10, "sgd", (0.25, 0.1, 0.01)),
    "JAX": Recipe(100, 20, "sgd", (0.4, 0.2, 0.02)),
    "PyTorch": Recipe(256, 128, "adam", (0.005, 0.003, 0.0005)),
    "scikit-learn": Recipe(200, 200, "adam", (0.004,)),
}


def write_examples(folder: Path, training: Part, test: Part) -> None:
    """Save the images, as bytes, and the labels in a folder, with `numpy.save`."""
    for name, part in (("training", training), ("test", test)):
        for field, array in part._asdict().items():
            np.save(folder / f"{name}_{field}.npy", array)


def read_examples(folder: Path) -> list[Part]:
    """Return the training part and the test part."""
    return [Part(*(np.load(folder / f"{name}_{field}.npy") for field in Part._fields)) for name in ("training", "test")]


def main(library: str, seed: int, folder: Path, target: float) -> None:
    marks = {"NumPy": time.time()}

    def mark(stage: str) -> None:
        marks[stage] = time.time()

    parts = read_examples(folder)
    mark("reading")
    accuracies: list[float] = []
    for accuracy in RUNS[library](RECIPES[library], seed, *parts, mark):
        accuracies.append(accuracy)
        if len(accuracies) == 1:
            mark("first epoch")
        if accuracy >= target:
            break
    mark("later epochs")
    print(json.dumps({"accuracies": accuracies, "marks": marks}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
