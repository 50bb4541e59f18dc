"""Network: parameters, and what can be done with them."""

import copy
import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from fastbp import backends, gradients
from fastbp.activations import Activation
from fastbp.costs import Cost
from fastbp.datasets.foreign_arrays import as_backend_array
from fastbp.datasets.inputs import as_classes, as_columns, as_targets
from fastbp.errors import InputError, brief, choose, finite_number, whole_number
from fastbp.files import models
from fastbp.files.tensors import StrPath
from fastbp.gradients import Trace
from fastbp.operations import Parameters
from fastbp.optimizers import Optimizer
from fastbp.parameters import ParameterList, as_parameters, checked_parameters, dtype_name, plan_of, shapes_of
from fastbp.schedules import Schedule
from fastbp.training import inference
from fastbp.training.history import Epoch, History
from fastbp.training.progress import watching
from fastbp.training.setup import Options, in_use, prepare

Array = Any
P = ParamSpec("P")
R = TypeVar("R")
INITS: dict[str, Callable[[int], float]] = {"scaled": lambda n_in: float(n_in) ** -0.5, "large": lambda n_in: 1.0}
"""The standard deviation of a weight by the number of inputs of its neuron."""


def _on_backend_device(method: Callable[Concatenate["Network", P], R]) -> Callable[Concatenate["Network", P], R]:
    """Have a method of a network run where its backend does: on `cupy:1`, say, whatever CuPy's current device is."""

    @functools.wraps(method)
    def there(self: "Network", /, *arguments: P.args, **named: P.kwargs) -> R:
        with self._plan.backend.current():
            return method(self, *arguments, **named)

    return there


class Network:
    """A fully connected network: aˡ = σ(Wˡ aˡ⁻¹ + bˡ), trained by backpropagation.

    `sizes` counts the neurons of each layer, the input first. `activations` is one name or `Activation` for all layers,
    or one for each layer with weights; `cost` a name or `Cost`. `bias=False` leaves the b out. `dtype` is "float32" or
    "float64"; `backend` one of `fastbp.backends.available()`, "auto", or None for the current one. `rng` is a seed or a
    `numpy.random.Generator`, from which the parameters and later the mini-batches are drawn, on the host, so that every
    backend sees the same; `init` is "scaled", weights of N(0, 1/n_in), or "large", N(0, 1); biases are N(0, 1).
    `input_scale` is what every input is multiplied by on its way in: 1/255 for pixels of a byte, which stay bytes so.

    Columns are examples everywhere. Data may be anybody's arrays: NumPy's, lists, PyTorch's, JAX's, pandas frames,
    memory maps, whatever has `__array__`, `__array_interface__` or `__dlpack__`. They are read where they lie, copied
    only for another dtype or layout or to another device, and never written to. `weights` and `biases` are lists of
    (n_l, n_{l−1}) and (n_l, 1) arrays of the network's backend, which training writes into; they, and what is in the
    lists, can be assigned. Raises `InputError`.

    >>> net = Network([2, 3, 1], rng=0)
    >>> net.feedforward([0.0, 1.0]).shape
    (1,)
    >>> [w.shape for w in net.weights], [b.shape for b in net.biases]
    ([(3, 2), (1, 3)], [(3, 1), (1, 1)])
    """

    _seeded = True  # where nothing else is known, as of a network from a file

    def __init__(
        self,
        sizes: Sequence[int],
        activations: str | Activation | Sequence[str | Activation] = "sigmoid",
        cost: str | Cost = "quadratic",
        *,
        bias: bool = True,
        dtype: npt.DTypeLike = "float32",
        backend: Any = None,
        rng: int | np.random.Generator | None = None,
        init: str = "scaled",
        input_scale: float = 1.0,
    ) -> None:
        spread = choose("init", init, INITS)
        where = backends.get(backend)
        self._plan = plan_of(sizes, activations, cost, bias=bias, dtype=dtype, backend=where, input_scale=input_scale)
        self._rng, self._seeded = _generator(rng), rng is not None
        weights, biases = shapes_of(self._plan)
        with where.current():
            drawn_biases = [self._plan.copied(self._rng.standard_normal(shape)) for shape in biases]
            drawn = [self._plan.copied(self._rng.standard_normal(shape) * spread(shape[1])) for shape in weights]
        self._weights, self._biases = ParameterList("weights", drawn), ParameterList("biases", drawn_biases)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of neurons of each layer, the input first."""
        return self._plan.sizes

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activation of each layer with weights."""
        return self._plan.formulas.activations

    @property
    def cost_function(self) -> Cost:
        """The cost that training lowers."""
        return self._plan.formulas.output.cost_function

    @property
    def backend(self) -> str:
        """The name of the backend that the network runs on."""
        return self._plan.backend.name

    @property
    def input_scale(self) -> float:
        """What every input is multiplied by on its way in."""
        return self._plan.input_scale

    @property
    def dtype(self) -> str:
        """The dtype of the parameters, "float32" or "float64"."""
        return self._plan.dtype

    @property
    def weights(self) -> list[Array]:
        """Wˡ of each layer, shape (n_l, n_{l−1})."""
        return self._weights.listed

    @weights.setter
    @_on_backend_device
    def weights(self, weights: Iterable[Array]) -> None:
        self._weights.assign(weights, self._plan)

    @property
    def biases(self) -> list[Array]:
        """bˡ of each layer, shape (n_l, 1); an empty list for a network without."""
        return self._biases.listed

    @biases.setter
    @_on_backend_device
    def biases(self, biases: Iterable[Array]) -> None:
        self._biases.assign(biases, self._plan)

    @_on_backend_device
    def feedforward(self, a: Array) -> Array:
        """Return the outputs aᴸ for inputs a: equations (1), (2).

        `a` is a vector (n_0,), for which a vector (n_L,) comes back, or columns (n_0, m), for which (n_L, m) does.

        >>> Network([2, 3], rng=0).feedforward([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]).shape
        (3, 3)
        """
        a = as_backend_array("x", a, self._plan.backend)
        outputs = inference.outputs(self._plan, self._parameters(), self._inputs(a, finite=False))
        return outputs[:, 0] if a.ndim == 1 else outputs

    @_on_backend_device
    def cost(self, x: Array, y: Array) -> float:
        """Return C = (1/m) Σ_x C_x, the average over the columns of x with targets y: equation (3).

        `y` is columns (n_L, m) or m integer labels, as everywhere.

        >>> net = Network([1, 1], "identity", bias=False)
        >>> net.weights = [[[2.0]]]
        >>> net.cost([[1.0, 2.0]], [[0.0, 0.0]])  # (2² + 4²) / 2 / 2
        5.0
        """
        inputs, targets = self._examples(x, y)
        return inference.mean_cost(self._plan, self._parameters(), inputs, targets)

    @_on_backend_device
    def backprop(self, x: Array, y: Array) -> tuple[list[Array], list[Array]]:
        """Return (nabla_b, nabla_w), ∂C/∂b and ∂C/∂W summed over the columns: equations (BP1) to (BP4).

        The lists are like `biases` and `weights`. For one column this is the gradient of C_x; divided by the number of
        columns, that of `cost`.

        >>> nabla_b, nabla_w = Network([2, 3, 1], rng=0).backprop([0.0, 1.0], [1.0])
        >>> [nabla.shape for nabla in nabla_w]
        [(3, 2), (1, 3)]
        """
        inputs, targets = self._examples(x, y)
        return gradients.gradient(self._plan, self._parameters(), inputs, targets)

    @_on_backend_device
    def trace(self, x: Array, y: Array) -> Trace:
        """Return all that backpropagation computes for columns x with targets y, layer by layer, as a `Trace`.

        >>> trace = Network([2, 3, 1], rng=0).trace([0.0, 1.0], [1.0])
        >>> [z.shape for z in trace.zs], [g.shape for g in trace.activation_gradients]
        ([(3, 1), (1, 1)], [(2, 1), (3, 1), (1, 1)])
        """
        inputs, targets = self._examples(x, y)
        return gradients.trace(self._plan, self._parameters(), inputs, targets)

    @_on_backend_device
    def train(
        self,
        x: Array,
        y: Array,
        *,
        epochs: int = 30,
        mini_batch_size: int = 10,
        eta: float | Schedule | None = None,
        lmbda: float = 0.0,
        optimizer: str | Optimizer = "sgd",
        momentum: float | None = None,
        validation: tuple[Array, Array] | float | None = None,
        patience: int | None = None,
        sample_weight: Array = None,
        class_weight: Any = None,
        checkpoint: StrPath | None = None,
        resume: bool = False,
        resume_anyway: bool = False,
        overwrite: bool = False,
        callback: Callable[[Epoch], Any] | None = None,
        progress: bool = True,
    ) -> History:
        """Train by mini-batch gradient descent: W ← (1 − ηλ/n) W − (η/m) Σ δ aᵀ, b ← b − (η/m) Σ δ.

        `x` are columns (n_0, n) of float or uint8, `y` columns (n_L, n) or n integer labels. `eta` is a number, or a
        schedule from `fastbp.schedules`; None is 3 (1 − μ), for Adam 0.001. `optimizer` is "sgd", "momentum",
        "nesterov", "adam", or one made from `fastbp.optimizers`, which has the formulas. `momentum` is μ where a name
        is given that is not "adam": None is 0.0 for "sgd" and 0.9 for the others.

        `validation` is a pair like (x, y), watched after each epoch, or the fraction of the examples, of
        each class if there are some, to hold out for it. `patience` ends training after that many epochs without a
        higher validation accuracy (without classes, a lower cost) and puts the best epoch's parameters back.

        `sample_weight`, n numbers, and `class_weight`, "balanced" or a dict, multiply C_x of each example; the sum is
        divided by the number of examples all the same. `callback` gets an `Epoch` after each, and ends training if it
        returns True. `progress` shows a bar on a terminal and plain lines elsewhere, on standard error; if
        they cannot be written, training continues without them.

        `checkpoint` names a file that is written after each epoch and on Ctrl-C. With `resume` training continues from
        it, if it exists, and ends as if it had never stopped. The file has a fingerprint of all that decides the run:
        data, weights, validation, seed, schedule, formulas, settings. `resume` refuses a checkpoint of another run and
        names what differs; `resume_anyway` continues with what is given now. Without either, an existing file is
        replaced only with `overwrite`. Two runs cannot use one file at a time. If the file cannot be written, training
        continues with a warning; if that was so after the last epoch too, `fastbp.training.CheckpointError` is raised
        at the end. docs/checkpoints.md has the details.

        Returns the `History`. Parameters are changed in place. Ctrl-C raises KeyboardInterrupt and leaves those of the
        last whole mini-batch. Raises `InputError` before anything is changed, or when a memory-mapped file of the data
        changes meanwhile; `DivergedError` when the cost is no longer finite. The notes' mini-batch algorithm; L2 and
        momentum as in the book, chapter 3; Adam by its authors.

        >>> net = Network([2, 2, 1], rng=0)
        >>> history = net.train([[0, 0, 1, 1], [0, 1, 0, 1]], [0, 1, 1, 0], epochs=2, mini_batch_size=2, progress=False)
        >>> len(history.cost)
        2
        """
        options = Options(
            epochs=epochs,
            mini_batch_size=mini_batch_size,
            eta=eta,
            lmbda=lmbda,
            momentum=momentum,
            optimizer=optimizer,
            validation=validation,
            patience=patience,
            sample_weight=sample_weight,
            class_weight=class_weight,
            checkpoint=checkpoint,
            resume=resume,
            resume_anyway=resume_anyway,
            overwrite=overwrite,
            seeded=self._seeded,
            callback=None if callback is None else self._with_assigned_parameters(callback),
        )
        with in_use(checkpoint):
            run = prepare(self._plan, self._parameters(), self._rng, x, y, options)
            with watching(progress, run.examples_in_all) as watcher:
                return run.begin(watcher=watcher)

    @_on_backend_device
    def update_mini_batch(self, x: Array, y: Array, eta: float) -> None:
        """Take one step of gradient descent on a mini-batch of columns x with targets y, in place.

        >>> net = Network([1, 1], "identity", bias=False)
        >>> net.weights = [[[2.0]]]
        >>> net.update_mini_batch([[1.0, 3.0]], [[0.0, 0.0]], eta=0.25)  # 2 − 0.25/2 · (2·1 + 6·3)
        >>> net.weights[0].tolist()
        [[-0.5]]
        """
        inputs, targets = self._examples(x, y)
        eta = finite_number("eta", eta, positive=True)
        gradients.descend(self._plan, self._parameters(), inputs, targets, eta)

    @_on_backend_device
    def predict(self, x: Array) -> npt.NDArray[np.int64]:
        """Return, on the host, the class of each column: the index of its largest output, by batches of bounded memory.

        >>> Network([2, 3], rng=0).predict([[0.0, 1.0], [0.0, 0.0]]).shape
        (2,)
        """
        self._check_has_classes("predict")
        return inference.classes(self._plan, self._parameters(), self._inputs(x, finite=False))

    @_on_backend_device
    def accuracy(self, x: Array, labels: Array) -> float:
        """Return the fraction of columns whose largest output is the one of their label.

        `labels` are m integers, or target columns (n_L, m), whose largest entry counts.

        >>> Network([2, 3], rng=0).accuracy([[0.0], [0.0]], [1]) in (0.0, 1.0)
        True
        """
        self._check_has_classes("accuracy")
        inputs = self._inputs(x, finite=False)
        wanted = as_classes(labels, inputs.shape[1], self._plan)
        return float(np.mean(inference.classes(self._plan, self._parameters(), inputs) == wanted))

    @_on_backend_device
    def to(self, backend: Any = None, *, dtype: npt.DTypeLike | None = None) -> "Network":
        """Return a copy of the network on another backend, in another dtype, or both; it draws the same mini-batches.

        >>> Network([2, 3], rng=0).to("numpy-plain", dtype="float64")
        <Network 2-3: sigmoid; quadratic cost; float64 on numpy-plain>
        """
        self._parameters()
        host = self._plan.backend.to_host
        other = copy.copy(self)
        other._plan = dataclasses.replace(
            self._plan,
            backend=self._plan.backend if backend is None else backends.get(backend),
            dtype=self.dtype if dtype is None else dtype_name(dtype),
        )
        other._rng = copy.deepcopy(self._rng)
        for name, arrays in (("weights", self.weights), ("biases", self.biases)):
            copies = checked_parameters(name, [host(a) for a in arrays], other._plan, copied=True)
            setattr(other, f"_{name}", ParameterList(name, copies))
        return other

    @_on_backend_device
    def save(self, path: StrPath) -> None:
        """Write the network to a file in the safetensors format, from which `load` makes one that is equal to it.

        Weights (n_l, n_{l−1}) and biases (n_l, 1) are kept in the network's dtype, as "weights.0", "biases.0" and on;
        the metadata hold sizes, names of activations and cost, and where the generator of mini-batches stands. The file
        is whole or, if anything fails, the one that was there before. Formulas of your own are kept by name alone.

        Raises `InputError` if the file cannot be written, if parameters are not finite, or if a formula of your own has
        the name of another.

        >>> import tempfile
        >>> net = Network([2, 3], rng=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(folder + "/net.safetensors")
        ...     bool((load(folder + "/net.safetensors").weights[0] == net.weights[0]).all())
        True
        """
        self._parameters()
        models.write_model(path, models.Model(self._plan, self.weights, self.biases, self._rng))

    def __repr__(self) -> str:
        names = ", ".join(activation.name for activation in self.activations)
        sizes = "-".join(str(n) for n in self.sizes)
        bias = "" if self._plan.formulas.bias else ", no biases"
        return f"<Network {sizes}: {names}; {self.cost_function.name} cost{bias}; {self.dtype} on {self.backend}>"

    def _parameters(self) -> Parameters:
        """Return the parameters as the equations take them, after another look at what the lists now hold."""
        return as_parameters(self._weights.current(self._plan), self._biases.current(self._plan), self._plan)

    def _inputs(self, x: Array, *, finite: bool = True) -> Array:
        return as_columns("x", x, self.sizes[0], self._plan, finite=finite)

    def _examples(self, x: Array, y: Array) -> tuple[Array, Array]:
        inputs = self._inputs(x)
        return inputs, as_targets(y, inputs.shape[1], self._plan)

    def _with_assigned_parameters(self, callback: Callable[[Epoch], Any]) -> Callable[[Epoch], Any]:
        """Return a callback that also takes over the parameters which the given one may have assigned."""
        if not callable(callback):
            raise InputError(f"callback is {brief(callback)}; wanted is a function of an Epoch")

        def minding(epoch: Epoch) -> Any:
            answer = callback(epoch)
            self._parameters()
            return answer

        return minding

    def _check_has_classes(self, what: str) -> None:
        if self.sizes[-1] < 2:
            raise InputError(
                f"{what} wants a network of two or more outputs, one a class; this one has 1: use feedforward"
            )


def load(
    path: StrPath, *, backend: Any = None, activations: Iterable[Activation] = (), cost: Cost | None = None
) -> Network:
    """Return the network of a file that `Network.save` wrote, equal to it bit for bit.

    `backend` is a name, or None for the current one, whichever the network was saved from; on the same one outputs are
    the same bit for bit, and training goes on as if nothing had happened. `activations` are those of your own that the
    network has, and `cost` one of your own, for the file knows them by their names. Nothing is unpickled.

    Raises `InputError` for a file that is missing, damaged, no model, or of a later version, and for formulas that have
    to be given.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Network([2, 3], "tanh", dtype="float64", rng=0).save(folder + "/net.safetensors")
    ...     load(folder + "/net.safetensors", backend="numpy-plain")
    <Network 2-3: tanh; quadratic cost; float64 on numpy-plain>
    """
    net = Network.__new__(Network)  # without drawing parameters
    net._plan, weights, biases, net._rng = models.read_model(path, backend=backend, activations=activations, cost=cost)
    net._weights, net._biases = ParameterList("weights", weights), ParameterList("biases", biases)
    return net


def _generator(rng: int | np.random.Generator | None) -> np.random.Generator:
    if isinstance(rng, np.random.Generator):
        return rng
    try:
        return np.random.default_rng(None if rng is None else whole_number("rng", rng, least=0))
    except InputError as error:
        raise InputError(f"{error}, or a numpy.random.Generator") from None


def warmup(net: Network | None = None, *, optimizer: Any = "sgd") -> float:
    """Compile what a network's training and use need, or load it, and return the seconds that took.

    For `net`, of which nothing is changed, or for one like `Network([784, 30, 10])`: compiled code goes by the number
    of layers, their activations, the cost, biases, dtype and optimizer, not by the sizes. Training wants examples in
    the network's dtype, or bytes; both are looked after. What is compiled stays in a folder, which `fastbp info` names,
    so that a later process finds it there: 0.5 s to its first mini-batch, where compiling takes some seconds.

    Raises `InputError` as `Network.train` does.

    >>> warmup() > 0.0
    True
    """
    start = time.perf_counter()
    small = _like(net if net is not None else Network([784, 30, 10]))
    rng = np.random.default_rng(0)
    labels = np.arange(3) % small.sizes[-1]
    y = labels if small.sizes[-1] > 1 else np.ones((1, 3))
    for x in (rng.random((small.sizes[0], 3)), rng.integers(0, 2, (small.sizes[0], 3)).astype(np.uint8)):
        small.train(x, y, epochs=1, mini_batch_size=2, optimizer=optimizer, progress=False)  # a short one last
    small.cost(x, y)
    small.feedforward(x)
    small.backprop(x, y)
    return time.perf_counter() - start


def _like(net: Network) -> Network:
    """Return a network that runs the same code: two neurons where there are more, and one where there is one."""
    sizes = [min(n, 2) for n in net.sizes]
    return Network(
        sizes,
        net.activations,
        net.cost_function,
        bias=bool(net.biases),
        dtype=net.dtype,
        backend=net._plan.backend,
        rng=0,
    )
