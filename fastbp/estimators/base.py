"""The common base class of the two estimators: their parameters, checks of the input, fitting and prediction."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp import backends
from fastbp.activations import Activation, sigmoid
from fastbp.datasets.foreign_arrays import as_numpy, text_labels
from fastbp.errors import InputError
from fastbp.estimators import old_pickles
from fastbp.estimators.clipped_costs import clipped
from fastbp.estimators.epochs import Dataset, Rows, outputs, parameters_of
from fastbp.estimators.fitting import TrainingLoop
from fastbp.estimators.from_scikit_learn import HOOKS, check_sample_weight
from fastbp.estimators.lbfgs_solver import fit_lbfgs
from fastbp.estimators.parameter_checks import (
    CONSTRAINTS,
    OUTPUTS,
    HiddenActivation,
    LearningRate,
    Solver,
    fastbp_activations,
    hidden_layers,
)
from fastbp.estimators.plain_arrays import FLOATS, has_finite_sum, is_plain_matrix, is_plain_vector
from fastbp.estimators.solver_state import SolverState
from fastbp.operations import Plan, PreparingBackend
from fastbp.parameters import as_parameters, plan_of
from fastbp.training.small_batches import small_batches_of

Array = npt.NDArray[Any]


class BaseMLP(BaseEstimator, ABC):  # type: ignore[misc]
    """A fully connected network with scikit-learn's interface: the base class of the classifier and the regressor."""

    coefs_: list[Array]
    intercepts_: list[Array]
    out_activation_: str
    class_weight: Any = None  # a parameter of the classifier only
    _optimizer: SolverState
    _parameter_constraints = CONSTRAINTS
    _doc_link_module = "fastbp"
    _doc_link_template = "https://github.com/fastbp/fastbp/blob/main/docs/migrating.md#from-scikit-learn"

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: HiddenActivation | Sequence[HiddenActivation] = "relu",
        *,
        solver: Solver = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: LearningRate = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        backend: backends.BackendLike | None = None,
        dropout: float | Sequence[float] = 0.0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.backend = backend
        self.dropout = dropout

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _refuse_hooks(cls.__name__, {name for kind in cls.__mro__ for name in vars(kind)})

    def __getstate__(self) -> dict[str, Any]:
        return old_pickles.stamped(super().__getstate__())

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(old_pickles.current(type(self), state))

    @abstractmethod
    def _targets(self, y: Any, *, partial: bool) -> Array:
        """Check the targets, and return the network's targets as an array of shape (n, n_L)."""

    @abstractmethod
    def _fresh_out_activation(self) -> str:
        """Return the value of `out_activation_` for new parameters."""

    @property
    def _loss_divisor(self) -> int:
        """The number of outputs over which the loss is a mean. Elsewhere, it is a sum over the outputs."""
        return 1

    @abstractmethod
    def _stratify_labels(self, y: Array) -> Array | None:
        """Return the class of each example for a stratified split, or None for a plain random split."""

    @abstractmethod
    def _validation_score(self, y: Array, a: Array, w: Array | None) -> float:
        """Return the score to be maximized by early stopping.

        The targets `y` and the outputs `a` have shape (n, n_L). The weights `w` of the examples have shape (n,).
        """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_solver(self) -> bool:
        """Return True; raise AttributeError if the solver does not train on mini-batches."""
        if isinstance(self.solver, str) and self.solver == "lbfgs":
            raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
        return True

    def _train(self, x: Any, y: Any, sample_weight: Any, *, partial: bool, **options: Any) -> Any:
        """Check examples, train on them, and return the estimator. `options` are options of `validate_data`."""
        _refuse_hooks(type(self).__name__, vars(self))
        layers, activations = hidden_layers(self.hidden_layer_sizes, self.activation)
        fresh = not hasattr(self, "coefs_") or not (partial or self.warm_start)
        rows, y = self._checked_examples(x, y, reset=fresh, **options)
        targets = self._targets(y, partial=partial)
        w = self._example_weights(sample_weight, y, rows)
        if partial and self.early_stopping:
            raise InputError("partial_fit does not support early_stopping=True")
        rng = check_random_state(self.random_state)
        sizes = [rows.shape[1], *layers, targets.shape[1]]
        if fresh:
            dtype, out_activation = rows.dtype, self._fresh_out_activation()
            coefs, intercepts = _initial_parameters(sizes, activations, self.activation, rng)
        else:
            dtype, out_activation, coefs, intercepts = self._parameters_so_far(sizes)
        plan = self._plan(sizes, activations, out_activation, dtype)
        if fresh:
            self.t_, self.n_layers_, self.n_outputs_, self.out_activation_ = 0, len(sizes), sizes[-1], out_activation
        dataset = Dataset(rows.astype(dtype, copy=False), np.ascontiguousarray(targets, dtype), w)
        with plan.backend.device_context():
            self._fit_parameters(plan, coefs, intercepts, dataset, rng, fresh=fresh, partial=partial)
        return self

    def _checked_examples(self, x: Any, y: Any, *, reset: bool, **options: Any) -> tuple[Rows, Any]:
        """Return rows and targets that functions of scikit-learn have checked. Sparse rows are a CSR matrix.

        Most of these checks are skipped for plain arrays, because they take longer than a small mini-batch.
        """
        if is_plain_matrix(x) and is_plain_vector(y, len(x)) and has_finite_sum(x):
            validate_data(self, x, y, reset=reset, skip_check_array=True)
            return x, y
        options |= {"accept_sparse": "csr", "dtype": FLOATS, "order": "C", "multi_output": True, "reset": reset}
        checked: tuple[Rows, Any] = validate_data(self, _as_numpy("X", x), _as_numpy("y", y), **options)
        return checked

    def _fit_parameters(
        self, plan: Plan, coefs: list[Array], intercepts: list[Array], dataset: Dataset, rng: np.random.RandomState, *,
        fresh: bool, partial: bool,
    ) -> None:  # fmt: skip
        """Train from the given parameters with the solver, and set `coefs_` and `intercepts_`."""
        plan = replace(plan, formulas=replace(plan.formulas, output=clipped(plan.formulas.output, plan.dtype)))
        if self.solver == "lbfgs":
            p = parameters_of(coefs, intercepts, plan)
            self.coefs_, self.intercepts_ = fit_lbfgs(self, plan, p, dataset)
            return
        stopping = getattr(self, "validation_scores_", None) is not None
        if fresh or not hasattr(self, "loss_curve_") or stopping != bool(self.early_stopping):
            self._reset_history()
        loop = TrainingLoop(self, plan, coefs, intercepts, dataset, rng, partial=partial)
        self.coefs_, self.intercepts_ = loop.run(1 if partial else self.max_iter)

    def _example_weights(self, sample_weight: Any, y: Any, rows: Rows) -> Array | None:
        """Return the checked weights of the examples, with shape (n,), or None if all examples weigh the same."""
        w = None
        if sample_weight is not None:
            w = check_sample_weight(_as_numpy("sample_weight", sample_weight), rows)
            w = np.asarray(w, np.float64)
        if self.class_weight is not None:
            by_class = compute_sample_weight(self.class_weight, y)
            w = by_class if w is None else w * by_class
        if w is not None and not w.any():
            raise InputError("Sample weights must contain at least one non-zero number.")
        return w

    def _parameters_so_far(self, sizes: list[int]) -> tuple[Any, str, list[Array], list[Array]]:
        """Return the dtype, `out_activation_`, `coefs_` and `intercepts_`; raise `InputError` if `sizes` do not fit."""
        found = [np.shape(w)[0] for w in self.coefs_] + [np.shape(self.coefs_[-1])[1]]
        if sizes[1:-1] != found[1:-1]:
            raise InputError(f"hidden_layer_sizes must be those of coefs_, {found[1:-1]}, got {sizes[1:-1]}")
        if sizes[-1] != found[-1]:
            raise InputError(f"y must have {found[-1]} columns, as in the first fit, got {sizes[-1]}")
        dtype = np.result_type(*self.coefs_)
        return (
            dtype if dtype in FLOATS else np.dtype(np.float64),
            self.out_activation_,
            self.coefs_,
            self.intercepts_,
        )

    def _reset_history(self) -> None:
        """Forget the losses and scores of earlier epochs."""
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_loss_ = None if self.early_stopping else math.inf
        self.best_validation_score_ = -math.inf if self.early_stopping else None
        self._no_improvement_count = 0

    def _plan(
        self, sizes: Sequence[int], activations: Sequence[str | Activation], out_activation: str, dtype: npt.DTypeLike
    ) -> Plan:
        names, cost = fastbp_activations(activations, out_activation), OUTPUTS[out_activation]
        return plan_of(sizes, names, cost, bias=True, dtype=dtype, backend=backends.get(self.backend))

    def _outputs(self, x: Any) -> Array:
        """Check the rows of `x`, and return the network's outputs aᴸ for them. Their shape is (n, n_L).

        The outputs are computed from the present `coefs_` and `intercepts_`, in float64 if `x` or `coefs_` need it.
        """
        check_is_fitted(self, "coefs_")
        if is_plain_matrix(x):
            validate_data(self, x, reset=False, skip_check_array=True)
            with suppress(InputError):  # not finite; the full checks find out where
                return self._outputs_of_rows(x)
        return self._outputs_of_rows(
            validate_data(self, _as_numpy("X", x), accept_sparse="csr", dtype=FLOATS, reset=False)
        )

    def _outputs_of_rows(self, rows: Rows) -> Array:
        layers, coefs, intercepts = len(self.coefs_) - 1, self.coefs_, self.intercepts_
        one = isinstance(self.activation, (str, Activation))
        activations: Any = [self.activation] * layers if one else self.activation
        if rows.dtype == np.float64 and any(np.asarray(w).dtype != rows.dtype for w in coefs):
            coefs, intercepts = ([np.asarray(a, rows.dtype) for a in part] for part in (coefs, intercepts))
        found = self._outputs_of_usable(rows, coefs, intercepts, activations)
        if found is not None:
            return found
        sizes = [self.n_features_in_, *(np.shape(w)[1] for w in coefs)]
        plan = self._plan(sizes, activations, self.out_activation_, np.asarray(coefs[0]).dtype)
        with plan.backend.device_context():
            return outputs(plan, parameters_of(coefs, intercepts, plan), rows)

    def _outputs_of_usable(
        self, rows: Rows, coefs: list[Array], intercepts: list[Array], activations: Sequence[str | Activation]
    ) -> Array | None:
        """Return the outputs, or None if coefs or intercepts have to be converted first, or are not on the host."""
        backend = backends.get(self.backend)
        if not isinstance(backend, PreparingBackend):
            return None
        weights, biases = [np.asarray(w).T for w in coefs], [np.reshape(b, (-1, 1)) for b in intercepts]
        names, cost = fastbp_activations(activations, self.out_activation_), OUTPUTS[self.out_activation_]
        batches = small_batches_of(weights, biases, names, cost, backend)
        if batches is None or batches.plan.sizes[0] != rows.shape[1]:
            return None
        batch = batches.with_inputs(rows.T) if isinstance(rows, np.ndarray) else None
        if batch is not None:
            found: Array | None = batch.outputs(weights, biases)
            batches.put_back(batch)
            if found is not None:
                return found
        return outputs(batches.plan, as_parameters(weights, biases, batches.plan), rows)


def _refuse_hooks(owner: str, names: Any) -> None:
    """Raise TypeError if one of scikit-learn's private methods is among the names."""
    if found := HOOKS.intersection(names):
        raise TypeError(
            f"{owner} replaces {', '.join(sorted(found))}, which fastbp.estimators never calls; use the estimator of "
            "sklearn.neural_network for this class"
        )


def _as_numpy(name: str, values: Any) -> Any:
    """Convert an array of another library to a NumPy array, without a copy.

    A masked array is refused if it has masked values. Any other value is returned unchanged, because scikit-learn
    checks it.
    """
    if isinstance(values, np.ma.MaskedArray):
        return as_numpy(name, values) if np.ma.is_masked(values) else np.asarray(values)
    foreign = hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray)
    if foreign and (text := text_labels(values)) is not None:
        return text
    return as_numpy(name, values) if foreign else values


def _initial_parameters(
    sizes: Sequence[int],
    activations: Sequence[str | Activation],
    activation: Any,
    rng: np.random.RandomState,
) -> tuple[list[Array], list[Array]]:
    """Return random coefs and intercepts, drawn from the uniform distribution U(−r, r).

    r² is 2/(n_in + n_out) for layers with the activation "logistic", and 6/(n_in + n_out) for the other activations
    (Glorot and Bengio 2010). For the output layer, r follows from the activation of the last hidden layer, as in
    scikit-learn. Without hidden layers, it follows from `activation`.
    """
    coefs, intercepts = [], []
    last = activations[-1] if activations else activation
    for n_in, n_out, name in zip(sizes[:-1], sizes[1:], [*activations, last], strict=True):
        r = math.sqrt((2.0 if name in ("logistic", sigmoid) else 6.0) / (n_in + n_out))
        coefs.append(rng.uniform(-r, r, (n_in, n_out)))
        intercepts.append(rng.uniform(-r, r, n_out))
    return coefs, intercepts
