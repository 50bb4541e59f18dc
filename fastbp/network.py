"""The class `Network`, a fully connected network with its parameters, and the functions `load` and `warmup`."""

import copy
import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import numpy as np
import numpy.typing as npt

from fastbp import backends, gradients
from fastbp.activations import Activation, ActivationName
from fastbp.backends import BackendLike
from fastbp.costs import Cost, CostName
from fastbp.datasets.class_names import checked_classes, named
from fastbp.datasets.foreign_arrays import as_backend_array
from fastbp.datasets.inputs import as_classes, as_columns, as_targets, classes_of_units
from fastbp.datasets.preparation import Preparation, check_preparation
from fastbp.datasets.sparse_columns import is_sparse
from fastbp.datasets.table_files import as_table, has_named_columns, refuse_tables
from fastbp.errors import InputError, explain_keywords, finite_number
from fastbp.files import models
from fastbp.files.reading import StrPath
from fastbp.gradients import Trace
from fastbp.operations import Parameters
from fastbp.optimizers import Optimizer, OptimizerName
from fastbp.parameters import (
    InitName,
    ParameterList,
    as_parameters,
    checked_parameters,
    draw_parameters,
    dtype_name,
    generator_of,
    plan_of,
)
from fastbp.schedules import Schedule
from fastbp.training import inference
from fastbp.training.dropout import masks_of
from fastbp.training.history import Epoch, History, r_squared
from fastbp.training.setup import Options, train
from fastbp.training.small_batches import SmallBatches
from fastbp.training.summaries import Described, summary

Array = Any
DTypeName = Literal["float32", "float64"]
DTypeLike = DTypeName | type[float] | type[np.floating[Any]] | np.dtype[Any]
Rates = float | Sequence[float]
P = ParamSpec("P")
R = TypeVar("R")


def _on_backend_device(method: Callable[Concatenate["Network", P], R]) -> Callable[Concatenate["Network", P], R]:
    """Wrap a method of `Network` so that it runs on the device of the network's backend.

    A network on `cupy:1` runs on that GPU even if another one is CuPy's current device.
    """

    @functools.wraps(method)
    def wrapper(self: "Network", /, *arguments: P.args, **named: P.kwargs) -> R:
        with self._plan.backend.device_context():
            return method(self, *arguments, **named)

    return wrapper


class Network(Described):
    """A fully connected network, aˡ = σ(Wˡ aˡ⁻¹ + bˡ), trained by backpropagation.

    Parameters
    ----------
    sizes : sequence of int
        Number of neurons of each layer, input layer first.
    activations : name, Activation, or a sequence with one per layer
        One activation for all layers, or one for each layer with weights. See `fastbp.activations`.
    cost : name or Cost
        The cost that training minimises. See `fastbp.costs`.
    bias : bool
        Whether the layers have biases.
    dtype : "float32" or "float64"
        The dtype of the parameters and of all computation.
    backend : name or array module, optional
        Where the network is computed: one of `fastbp.backends.available()`, or "auto". By default the current backend.
    rng : int or numpy.random.Generator, optional
        A seed, or a generator. It gives the initial parameters, and later the order of the examples in each epoch. All
        these random numbers are drawn on the host, so they are the same on every backend.
    init : "scaled" or "large"
        The distribution of the initial weights: N(0, 1/n_in) for "scaled", where n_in is the number of inputs of the
        layer, and N(0, 1) for "large". Initial biases are drawn from N(0, 1).
    input_scale : float
        The factor that every input is multiplied by. With 1/255, images can be passed as bytes.

    Raises
    ------
    InputError
        If an argument is not valid.

    Notes
    -----
    Examples are columns. Data may be arrays of any library: NumPy, PyTorch, JAX, lists, memory maps, frames of
    pandas, Polars and PyArrow, and every
    object with `__array__`, `__array_interface__` or `__dlpack__`. Data are copied only if another dtype, layout or
    device is needed. Data are never written to.

    `weights` and `biases` are lists of arrays of the network's backend, of shapes (n_l, n_{l−1}) and (n_l, 1). Training
    writes into these arrays. You can assign to the lists and to their items.

    Examples
    --------
    >>> net = Network([2, 3, 1], rng=0)
    >>> net.feedforward([0.0, 1.0]).shape
    (1,)
    >>> [w.shape for w in net.weights], [b.shape for b in net.biases]
    ([(3, 2), (1, 3)], [(3, 1), (1, 1)])
    """

    _preparation: Preparation | None = None
    _seeded = True  # also True for networks from a file, where it is not known

    @explain_keywords
    def __init__(
        self,
        sizes: Sequence[int],
        activations: ActivationName | Activation | Sequence[ActivationName | Activation] = "sigmoid",
        cost: CostName | Cost = "quadratic",
        *,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        backend: BackendLike | None = None,
        rng: int | np.random.Generator | None = None,
        init: InitName = "scaled",
        input_scale: float = 1.0,
    ) -> None:
        where = backends.get(backend)
        self._plan = plan_of(sizes, activations, cost, bias=bias, dtype=dtype, backend=where, input_scale=input_scale)
        self._rng, self._seeded = generator_of(rng), rng is not None
        weights, biases = draw_parameters(self._plan, self._rng, init)
        self._weights, self._biases = ParameterList("weights", weights), ParameterList("biases", biases)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of neurons of each layer, input layer first."""
        return self._plan.sizes

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activation of each layer with weights."""
        return self._plan.formulas.activations

    @property
    def cost_function(self) -> Cost:
        """The cost that training minimises."""
        return self._plan.formulas.output.cost_function

    @property
    def backend(self) -> str:
        """The name of the network's backend."""
        return self._plan.backend.name

    @property
    def input_scale(self) -> float:
        """The factor that every input is multiplied by."""
        return self._plan.input_scale

    @property
    def dtype(self) -> DTypeName:
        """The dtype of the parameters: "float32" or "float64"."""
        return cast(DTypeName, self._plan.dtype)

    @property
    def preparation(self) -> Preparation | None:
        """How the rows of a table become inputs, and what the outputs mean; None if it is not known.

        With a preparation, `predict` and `score` accept tables. `save` saves it. See `fastbp.datasets.fit`.
        """
        return self._preparation

    @preparation.setter
    def preparation(self, preparation: Preparation | None) -> None:
        check_preparation(preparation, self.sizes)
        classes = () if preparation is None else preparation.target.classes
        self._preparation, self._plan = preparation, dataclasses.replace(self._plan, classes=classes)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, in the order of the outputs; None if they are not known.

        Training with labels of text sets them, in alphabetical order. They may also be assigned, and `save` saves them.
        Then all methods accept names as labels, and `predict` returns names. In a network with a preparation, the names
        are those of the preparation, and `predict` returns names only for tables.
        """
        return self._plan.classes or None

    @classes.setter
    def classes(self, names: Iterable[str] | None) -> None:
        if self._preparation is not None:
            raise InputError("the classes of a network with a preparation are those of preparation.target")
        self._plan = dataclasses.replace(self._plan, classes=checked_classes(names, self._plan))

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
        """bˡ of each layer, shape (n_l, 1); an empty list for a network without biases."""
        return self._biases.listed

    @biases.setter
    @_on_backend_device
    def biases(self, biases: Iterable[Array]) -> None:
        self._biases.assign(biases, self._plan)

    @_on_backend_device
    def feedforward(self, a: Array) -> Array:
        """Return the outputs aᴸ = σ(Wᴸ aᴸ⁻¹ + bᴸ) for the inputs `a`: equations (1) and (2).

        Parameters
        ----------
        a : array or sparse matrix, shape (n_0, m) or (n_0,)
            Inputs, one example per column.

        Returns
        -------
        array, shape (n_L, m) or (n_L,)
            Outputs, in the network's dtype, on its backend.

        Raises
        ------
        InputError
            If the shape does not fit, or an input is not finite.

        Examples
        --------
        >>> Network([2, 3], rng=0).feedforward([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]).shape
        (3, 3)
        """
        if (rows := self._outputs_of_small_batch(a)) is not None:
            return rows.T if a.ndim == 2 else rows[0]
        if self._preparation is not None:
            refuse_tables(a)
        a = a if is_sparse(a) else as_backend_array("x", a, self._plan.backend)
        outputs = inference.outputs(self._plan, self._parameters(), self._inputs(a, finite=False))
        return outputs[:, 0] if a.ndim == 1 else outputs

    @_on_backend_device
    def cost(self, x: Array, y: Array) -> float:
        """Return the average cost C = (1/m) Σ_x C_x over the columns of x: equation (3).

        Parameters
        ----------
        x : array or sparse matrix, shape (n_0, m)
            Inputs, one example per column.
        y : array, shape (n_L, m) or (m,)
            Targets, one column per example, or integer labels.

        Returns
        -------
        float
            The cost, without the L2 term.

        Raises
        ------
        InputError
            If x and y do not fit the network.

        Examples
        --------
        >>> net = Network([1, 1], "identity", bias=False)
        >>> net.weights = [[[2.0]]]
        >>> net.cost([[1.0, 2.0]], [[0.0, 0.0]])  # (2² + 4²) / 2 / 2
        5.0
        """
        if (batch := self._small_batches().with_examples(x, y)) is not None:
            cost = batch.mean_cost()
            self._kept_batches.put_back(batch)
            return cost
        inputs, targets = self._examples(x, y)
        return inference.mean_cost(self._plan, self._parameters(), inputs, targets)

    @_on_backend_device
    def backprop(
        self, x: Array, y: Array, *, dropout: Rates | None = None, dropout_key: int | None = None
    ) -> tuple[list[Array], list[Array]]:
        """Return the gradient of the cost, summed over the columns of x: equations (BP1) to (BP4).

        For one column this is the gradient of C_x. Divided by the number of columns, it is the gradient of `cost`.

        Parameters
        ----------
        x : array or sparse matrix, shape (n_0, m)
            Inputs, one example per column.
        y : array, shape (n_L, m) or (m,)
            Targets, one column per example, or integer labels.
        dropout : float or sequence of float, optional
            Rates of dropout, as in `train`. By default no unit is dropped.
        dropout_key : int, optional
            The key of the masks of dropout, from 0 to 2⁶⁴ − 1. The same key gives the same masks. In training, each
            epoch has a key of its own.

        Returns
        -------
        nabla_b, nabla_w : list of array
            ∂C/∂b and ∂C/∂W, with the shapes of `biases` and `weights`.

        Raises
        ------
        InputError
            If x and y do not fit the network.

        Examples
        --------
        >>> nabla_b, nabla_w = Network([2, 3, 1], rng=0).backprop([0.0, 1.0], [1.0])
        >>> [nabla.shape for nabla in nabla_w]
        [(3, 2), (1, 3)]
        """
        if dropout is dropout_key is None and (batch := self._small_batches().with_examples(x, y)) is not None:
            gradient = batch.gradient()
            self._kept_batches.put_back(batch)
            return gradient
        inputs, targets = self._examples(x, y)
        masks = masks_of(dropout, dropout_key, self._plan)
        return gradients.gradient(self._plan, self._parameters(), inputs, targets, masks)

    @_on_backend_device
    def trace(self, x: Array, y: Array) -> Trace:
        """Return all values that backpropagation computes for columns x with targets y, as a `Trace`.

        Parameters
        ----------
        x : array or sparse matrix, shape (n_0, m)
            Inputs, one example per column.
        y : array, shape (n_L, m) or (m,)
            Targets, one column per example, or integer labels.

        Returns
        -------
        Trace
            zˡ, aˡ, δˡ and ∂C_x/∂aˡ of each layer, and the gradient.

        Raises
        ------
        InputError
            If x and y do not fit the network.

        Examples
        --------
        >>> trace = Network([2, 3, 1], rng=0).trace([0.0, 1.0], [1.0])
        >>> [z.shape for z in trace.zs], [g.shape for g in trace.activation_gradients]
        ([(3, 1), (1, 1)], [(2, 1), (3, 1), (1, 1)])
        """
        inputs, targets = self._examples(x, y)
        return gradients.trace(self._plan, self._parameters(), inputs, targets)

    @_on_backend_device
    @explain_keywords
    def train(
        self,
        x: Array,
        y: Array,
        *,
        epochs: int = 30,
        mini_batch_size: int | None = None,
        eta: float | Schedule | None = None,
        lmbda: float = 0.0,
        dropout: Rates = 0.0,
        optimizer: OptimizerName | Literal["lbfgs"] | Optimizer = "sgd",
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
        comm: Any = None,
        sharded: bool = False,
    ) -> History:
        """Train by mini-batch gradient descent: W ← (1 − ηλ/n) W − (η/m) Σ δ aᵀ, b ← b − (η/m) Σ δ.

        Parameters
        ----------
        x : array or sparse matrix, shape (n_0, n)
            Inputs, one example per column, as floats or as bytes (uint8). A sparse matrix of SciPy needs the backend
            "numpy", which computes with its entries only. It is converted to the CSC format once.
        y : array, shape (n_L, n) or (n,)
            Targets, one column per example, or labels: integers, whole numbers as floats, booleans or text, of shape
            (n,) or (n, 1). Text sets `classes`, unless they are known already.
        epochs : int
            Number of epochs.
        mini_batch_size : int, optional
            m, the number of examples per step, by default 10, or all if there are fewer. The last mini-batch of an
            epoch may be smaller.
        eta : float or schedule, optional
            η, the learning rate, or a schedule from `fastbp.schedules`. By default 3 (1 − μ), or 0.001 for Adam.
        lmbda : float
            λ, the strength of L2 regularisation.
        dropout : float or sequence of float
            The rate p of dropout: the probability with which a unit is set to 0 in a step. The other units are
            multiplied by 1/(1 − p), so nothing changes after training. A number is the rate of every hidden layer. A
            sequence has the rate of the input, and one rate per hidden layer. p is rounded to a multiple of 2⁻¹⁶.
        optimizer : name or optimizer
            "sgd", "momentum", "nesterov", "adam", another name or optimizer from `fastbp.optimizers`, or "lbfgs".
        momentum : float, optional
            μ, for the optimizers "sgd" (default 0), "momentum" and "nesterov" (default 0.9).
        validation : pair or float, optional
            Either a pair (x, y), or a fraction. After each epoch, cost and accuracy are computed on the pair. If a
            fraction is given, this fraction of the examples is held out and used as the pair. If the targets are
            classes, the fraction is taken from each class.
        patience : int, optional
            Stop after this many epochs without a higher validation accuracy, and restore the parameters of the best
            epoch. If the targets are not classes, the validation cost is compared instead: lower is better.
        sample_weight : array, shape (n,), optional
            The factor that C_x of each example is multiplied by. The sum of the C_x is still divided by the number of
            examples.
        class_weight : "balanced" or dict, optional
            A factor for each class. C_x of every example is multiplied by the factor of its class. "balanced" gives
            each class the factor n / (number of classes · examples of the class).
        checkpoint : path, optional
            A file to which the state of training is written after each epoch and on Ctrl-C.
        resume : bool
            Continue from the checkpoint if it exists. The result is the same as without the interruption. The
            checkpoint is refused if its run had other data, example weights, validation, seed, schedule, formulas or
            settings.
        resume_anyway : bool
            Continue from a checkpoint even if it is from a different run. The arguments of this call are used.
        overwrite : bool
            Replace an existing checkpoint. Without `overwrite` and without `resume`, an existing file is an error.
        callback : callable, optional
            Called with an `Epoch` after each epoch. Training stops if it returns True.
        progress : bool
            Whether to show progress on standard error: a bar on a terminal, lines elsewhere.
        comm : mpi4py communicator, optional
            Train on all ranks of a communicator, such as `MPI.COMM_WORLD`. Every rank has to call `train`, with the
            same network and the same arguments. Every rank ends with the same network, bit for bit. Each rank computes
            a part of every mini-batch, or of all examples for "lbfgs". The first rank reports progress and writes
            checkpoints. See `docs/scaling.md`.
        sharded : bool
            Whether each rank has its own examples in x, y, `validation` and `sample_weight`. Their numbers may differ.
            If False, all ranks have the same examples.

        Returns
        -------
        History
            Cost, validation results and seconds of each epoch. The parameters are changed in place.

        Raises
        ------
        InputError
            If an argument is not valid. In this case, nothing has been changed. The error is also raised if the data
            are in a memory-mapped file and this file is changed during training.
        DivergedError
            If the cost is no longer finite.
        fastbp.training.CheckpointError
            At the end, if the last checkpoint could not be written. If an earlier checkpoint could not be written,
            there is only a warning.
        fastbp.training.RankError
            If another rank has failed, or if the parameters of the ranks are no longer the same.
        KeyboardInterrupt
            On Ctrl-C. The parameters are those after the last complete mini-batch.

        Warns
        -----
        UserWarning
            If x contains bytes of 128 or more, and the network has no `input_scale`.

        Notes
        -----
        Two runs cannot use the same checkpoint at the same time. `docs/checkpoints.md` has the details.

        With "lbfgs", SciPy's L-BFGS minimises the cost of all examples plus (λ/2n) Σ ‖W‖². An epoch is one iteration,
        and its cost is computed after it. Training ends early when it has converged: when no entry of the gradient is
        above 1e-5, or the cost decreases by less than 2.2e-9 of itself. On Ctrl-C, the parameters are those after the
        last complete iteration. `eta`, `mini_batch_size`, `dropout`, `momentum` and `checkpoint` are refused. With
        `comm`, SciPy runs on the first rank, and each rank evaluates its part of the examples.

        References
        ----------
        The mini-batch algorithm of the notes. L2 regularisation and momentum as in chapter 3 of the book. Byrd, Lu,
        Nocedal and Zhu 1995, "A limited memory algorithm for bound constrained optimization".

        Examples
        --------
        >>> net = Network([2, 2, 1], rng=0)
        >>> history = net.train([[0, 0, 1, 1], [0, 1, 0, 1]], [0, 1, 1, 0], epochs=2, mini_batch_size=2, progress=False)
        >>> len(history.cost)
        2
        """
        options = Options(
            epochs=epochs, mini_batch_size=mini_batch_size, eta=eta, lmbda=lmbda, dropout=dropout, momentum=momentum,
            optimizer=optimizer, validation=validation, patience=patience, sample_weight=sample_weight,
            class_weight=class_weight, checkpoint=checkpoint, resume=resume, resume_anyway=resume_anyway,
            overwrite=overwrite, seeded=self._seeded, callback=callback,
        )  # fmt: skip
        ranks: dict[str, Any] = {"comm": comm, "sharded": sharded}
        keep_plan = functools.partial(setattr, self, "_plan")
        return train(self._plan, keep_plan, self._parameters, self._rng, x, y, options, progress=progress, **ranks)

    @_on_backend_device
    def update_mini_batch(self, x: Array, y: Array, eta: float) -> None:
        """Take one step of gradient descent on a mini-batch: W ← W − (η/m) Σ δ aᵀ, b ← b − (η/m) Σ δ.

        Parameters
        ----------
        x : array or sparse matrix, shape (n_0, m)
            Inputs, one example per column.
        y : array, shape (n_L, m) or (m,)
            Targets, one column per example, or integer labels.
        eta : float
            η, the learning rate, positive.

        Raises
        ------
        InputError
            If x and y do not fit the network, or η is not positive.

        Examples
        --------
        >>> net = Network([1, 1], "identity", bias=False)
        >>> net.weights = [[[2.0]]]
        >>> net.update_mini_batch([[1.0, 3.0]], [[0.0, 0.0]], eta=0.25)  # 2 − 0.25/2 · (2·1 + 6·3)
        >>> net.weights[0].tolist()
        [[-0.5]]
        """
        if (batch := self._small_batches().with_examples(x, y)) is not None:
            batch.descend(finite_number("eta", eta, positive=True))
            self._kept_batches.put_back(batch)
            return
        inputs, targets = self._examples(x, y)
        eta = finite_number("eta", eta, positive=True)
        gradients.descend(self._plan, self._parameters(), inputs, targets, eta)

    @_on_backend_device
    def predict(self, x: Array) -> npt.NDArray[Any]:
        """Return the predicted class of each example, or the predicted number.

        Parameters
        ----------
        x : array or sparse matrix, shape (n_0, m), or object with named columns
            Inputs. An array has one example per column; it is not prepared. If the network has a `preparation`, an
            object with named columns, such as a DataFrame, has one example per row. Its columns are found by name.
            Inputs are processed in batches of bounded memory.

        Returns
        -------
        numpy.ndarray, shape (m,)
            For an array and a network with several outputs, the index of the largest output, int64. With one output,
            the output, or 0 and 1 (int64) if the activation of the output is between 0 and 1. If the network was
            trained with labels of text, the names of the classes instead of their numbers. For an object with named
            columns, the names of the classes, or numbers in the unit of the label column.

        Raises
        ------
        InputError
            If the shape does not fit, an input is not finite, or a column is missing.

        Examples
        --------
        >>> Network([2, 3], rng=0).predict([[0.0, 1.0], [0.0, 0.0]]).shape
        (2,)
        """
        if self._preparation is not None and has_named_columns(x):
            inputs = self._preparation.transform(as_table(x))
            return self._preparation.target.answers(self._host_outputs(inputs))
        if self.sizes[-1] == 1:
            outputs = self._host_outputs(x).reshape(-1)
            if not self._has_two_classes():
                return outputs
            classes = (outputs >= 0.5).astype(np.int64)
        elif (rows := self._outputs_of_small_batch(x)) is not None:
            classes = rows.argmax(axis=1)
        else:
            classes = inference.classes(self._plan, self._parameters(), self._inputs(x, finite=False))
        return named(classes, self._plan) if self._preparation is None else classes

    @_on_backend_device
    def score(self, x: Array, y: Array = None) -> float:
        """Return the accuracy of predicted classes, or R² of predicted numbers.

        R² = 1 − Σ (y − a)² / Σ (y − ȳ)², where ȳ is the mean of y. With several outputs, it is the average of their R².

        Parameters
        ----------
        x : array, shape (n_0, m), or object with named columns
            Inputs, as in `predict`.
        y : array, shape (m,) or (n_L, m), optional
            Labels or targets. For an object with named columns, the default is its label column.

        Returns
        -------
        float
            The accuracy, from 0 to 1, if the network predicts classes: it has a preparation for classes, one output
            between 0 and 1, or several outputs and y are integer labels or unit columns. Otherwise R², at most 1.

        Raises
        ------
        InputError
            If x and y do not fit the network.

        Examples
        --------
        >>> net = Network([1, 1], "identity", bias=False)
        >>> net.weights = [[[2.0]]]
        >>> net.score([[1.0, 2.0, 3.0]], [2.0, 4.0, 7.0])  # the last prediction is 6: 1 − 1 / (38/3)
        0.921...
        """
        if self._preparation is not None and has_named_columns(x):
            table = as_table(x)
            inputs = self._preparation.transform(table)
            labels = self._preparation.labels(table if y is None else {self._preparation.target.name: y})
            classes = bool(self._preparation.target.classes)
        else:
            inputs, labels = self._inputs(x), y
            targets = as_targets(y, inputs.shape[1], self._plan)
            classes = self._has_two_classes() or classes_of_units(targets, self._plan) is not None
            labels = y if self.sizes[-1] > 1 and classes else targets
        if classes and self.sizes[-1] > 1:
            return self.accuracy(inputs, labels)
        outputs, targets = self._host_outputs(inputs), np.asarray(self._plan.backend.to_host(labels), np.float64)
        return float(np.mean((outputs >= 0.5) == (targets >= 0.5))) if classes else r_squared(outputs, targets)

    @_on_backend_device
    def accuracy(self, x: Array, labels: Array) -> float:
        """Return the fraction of correct predictions.

        Parameters
        ----------
        x : array or sparse matrix, shape (n_0, m)
            Inputs, one example per column.
        labels : array, shape (m,) or (n_L, m)
            Integer labels, names of classes, or target columns. The label of a target column is the index of its
            largest entry.

        Returns
        -------
        float
            The accuracy, from 0 to 1.

        Raises
        ------
        InputError
            If x and labels do not fit the network, or if the network has only one output.

        Examples
        --------
        >>> Network([2, 3], rng=0).accuracy([[0.0], [0.0]], [1]) in (0.0, 1.0)
        True
        """
        self._check_has_classes("accuracy")
        inputs = self._inputs(x, finite=False)
        expected = as_classes(labels, inputs.shape[1], self._plan)
        return float(np.mean(inference.classes(self._plan, self._parameters(), inputs) == expected))

    @_on_backend_device
    def to(self, backend: BackendLike | None = None, *, dtype: DTypeLike | None = None) -> "Network":
        """Return a copy of the network on another backend, in another dtype, or both.

        Parameters
        ----------
        backend : name or array module, optional
            By default the network's own backend.
        dtype : "float32" or "float64", optional
            By default the network's own dtype.

        Returns
        -------
        Network
            The copy. It has a copy of the random generator, so that it draws the same mini-batches.

        Raises
        ------
        InputError
            If the backend cannot be used, or a parameter cannot be represented in the dtype.

        Examples
        --------
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
        """Save the network to a file in the safetensors format, for `fastbp.load`.

        The file is written atomically. If anything fails, an existing file is not changed.

        Parameters
        ----------
        path : str or path
            The file.

        Raises
        ------
        InputError
            If the file cannot be written, a parameter is not finite, or a formula of your own has the name of another
            formula.

        Notes
        -----
        The tensors "weights.0", "biases.0", … have the network's dtype and the shapes (n_l, n_{l−1}) and (n_l, 1). The
        metadata contain the sizes, the names of activations and cost, and the state of the random generator. Only the
        names of your own formulas are saved, not the formulas themselves.

        Examples
        --------
        >>> import tempfile
        >>> net = Network([2, 3], rng=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(folder + "/net.safetensors")
        ...     bool((load(folder + "/net.safetensors").weights[0] == net.weights[0]).all())
        True
        """
        self._parameters()
        models.write_model(path, models.Model(self._plan, self.weights, self.biases, self._rng, self._preparation))

    def summary(self) -> str:
        """Return a table of the layers with their shapes, parameters and bytes, as text.

        Examples
        --------
        >>> print(Network([784, 30, 10], rng=0).summary())
        layer  neurons  activation   weights  biases  parameters   bytes
            1      784
            2       30     sigmoid  30 × 784  30 × 1      23,550  94,200
            3       10     sigmoid   10 × 30  10 × 1         310   1,240
        23,860 parameters, 95,440 bytes; quadratic cost; float32 on numpy
        """
        return summary(self._plan)

    def _parameters(self) -> Parameters:
        """Return the parameters in the form that the equations use.

        Values that users have assigned to the lists are copied into the parameters first.
        """
        return as_parameters(self._weights.current(self._plan), self._biases.current(self._plan), self._plan)

    @functools.cached_property
    def _kept_batches(self) -> SmallBatches:
        return SmallBatches(self._plan, self._parameters())

    def _small_batches(self) -> SmallBatches:
        """Return the kept batches, after copying assigned parameters into the arrays that they use."""
        self._weights.current(self._plan)
        self._biases.current(self._plan)
        return self._kept_batches

    def _outputs_of_small_batch(self, x: Array) -> npt.NDArray[Any] | None:
        """Return the outputs for a few columns, one example per row, or None if the general way is needed."""
        batch = self._small_batches().with_inputs(x)
        if batch is None:
            return None
        rows = batch.outputs()
        self._kept_batches.put_back(batch)
        return rows

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept_batches"}

    def _host_outputs(self, x: Array) -> npt.NDArray[Any]:
        outputs: npt.NDArray[Any] = np.asarray(self._plan.backend.to_host(self.feedforward(x)))
        return outputs

    def _has_two_classes(self) -> bool:
        """Return whether the network has one output, which is between 0 and 1."""
        return self.sizes[-1] == 1 and self.activations[-1].outputs == (0.0, 1.0)

    def _inputs(self, x: Array, *, finite: bool = True) -> Array:
        if self._preparation is not None:
            refuse_tables(x)
        return as_columns("x", x, self.sizes[0], self._plan, finite=finite)

    def _examples(self, x: Array, y: Array) -> tuple[Array, Array]:
        inputs = self._inputs(x)
        return inputs, as_targets(y, inputs.shape[1], self._plan)

    def _check_has_classes(self, what: str) -> None:
        if self.sizes[-1] < 2:
            raise InputError(
                f"{what} needs a network with two or more outputs, one per class; this one has 1: use score"
            )


@explain_keywords
def load(
    path: StrPath,
    *,
    backend: BackendLike | None = None,
    activations: Iterable[Activation] = (),
    cost: Cost | None = None,
) -> Network:
    """Load a network from a file written by `Network.save`.

    The parameters and the random generator are those of the saved network. On the same backend, outputs are therefore
    equal bit for bit, and training continues as if the network had not been saved. Nothing is unpickled.

    Parameters
    ----------
    path : str or path
        The file.
    backend : name or array module, optional
        By default the current backend.
    activations : iterable of Activation
        Your own activations, if the network has any. The file contains only their names.
    cost : Cost, optional
        Your own cost, if the network has one.

    Returns
    -------
    Network
        The network.

    Raises
    ------
    InputError
        If the file is missing, damaged, not a model or of a later version, or if the network has formulas of your own
        that you did not pass.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Network([2, 3], "tanh", dtype="float64", rng=0).save(folder + "/net.safetensors")
    ...     load(folder + "/net.safetensors", backend="numpy-plain")
    <Network 2-3: tanh; quadratic cost; float64 on numpy-plain>
    """
    net = Network.__new__(Network)  # without drawing parameters
    model = models.read_model(path, backend=backend, activations=activations, cost=cost)
    net._plan, weights, biases, net._rng, net._preparation = model
    net._weights, net._biases = ParameterList("weights", weights), ParameterList("biases", biases)
    return net


def warmup(net: Network | None = None, *, optimizer: OptimizerName | Literal["lbfgs"] | Optimizer = "sgd") -> float:
    """Prepare the code for training and using a network: compile it, or load it from the cache on disk.

    The code depends on the activations, the cost, the biases, the dtype and the optimizer, but not on the number and
    the sizes of the layers. It is compiled for examples in the network's dtype, and for bytes. Compiling takes some
    seconds. The compiled code is stored in a folder, which `fastbp info` shows. Later processes load the code from
    there, and have finished their first mini-batch after 0.5 s.

    Parameters
    ----------
    net : Network, optional
        The network; it is not changed. By default `Network([784, 30, 10])`.
    optimizer : name or optimizer
        The optimizer.

    Returns
    -------
    float
        The seconds that this took.

    Raises
    ------
    InputError
        For the same reasons as in `Network.train`.

    Examples
    --------
    >>> warmup() > 0.0
    True
    """
    start = time.perf_counter()
    small = _like(net if net is not None else Network([784, 30, 10]))
    rng = np.random.default_rng(0)
    labels = np.arange(3) % small.sizes[-1]
    y = labels if small.sizes[-1] > 1 else np.ones((1, 3))
    for x in (rng.random((small.sizes[0], 3)), rng.integers(0, 2, (small.sizes[0], 3)).astype(np.uint8)):
        size = None if optimizer == "lbfgs" else 2  # the last mini-batch is short
        small.train(x, y, epochs=1, mini_batch_size=size, optimizer=optimizer, progress=False)
    small.cost(x, y)
    small.feedforward(x)
    small.backprop(x, y)
    small.to().update_mini_batch(x, y, 0.1)
    small.feedforward(np.zeros((small.sizes[0], 2**13), small.dtype))  # many columns are read where they are
    return time.perf_counter() - start


def _like(net: Network) -> Network:
    """Return a small network that runs the same code, with at most two neurons per layer."""
    sizes, formulas = [min(n, 2) for n in net.sizes], (net.activations, net.cost_function)
    return Network(sizes, *formulas, bias=bool(net.biases), dtype=net.dtype, backend=net._plan.backend, rng=0)
