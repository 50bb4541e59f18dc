"""The common base class of the two estimators: their parameters, checks of the input, fitting and prediction."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp import backends
from fastbp.datasets.foreign_arrays import as_numpy, text_labels
from fastbp.errors import InputError
from fastbp.estimators.epochs import Dataset, Rows, outputs, parameters_of
from fastbp.estimators.fitting import TrainingLoop
from fastbp.estimators.parameter_checks import (
    ACTIVATIONS,
    HiddenActivation,
    LearningRate,
    Solver,
    check_parameters,
    hidden_layers,
)
from fastbp.operations import Plan
from fastbp.parameters import plan_of
from fastbp.training.small_batches import small_batches_of

Array = npt.NDArray[Any]
_FLOATS = (np.float64, np.float32)  # X in float32 is kept; any other dtype is converted to float64


class BaseMLP(BaseEstimator, ABC):  # type: ignore[misc]
    """A fully connected network with scikit-learn's interface: the base class of the classifier and the regressor."""

    coefs_: list[Array]
    intercepts_: list[Array]
    out_activation_: str

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
        backend: backends.BackendLike | None = None,
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
        self.backend = backend

    @abstractmethod
    def _cost(self, out_activation: str) -> str:
        """Return fastbp's name of the cost that belongs to an output activation."""

    @abstractmethod
    def _loss(self, cost: float) -> float:
        """Return scikit-learn's loss without its L2 term, given `cost`, the average of C_x over the examples."""

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

    def _starts_fresh(self, *, partial: bool) -> bool:
        """Return whether training starts from new random parameters rather than from the present ones."""
        return not hasattr(self, "coefs_") or not (partial or self.warm_start)

    def _check_input(self, x: Any, y: Any, *, partial: bool, **options: Any) -> tuple[Rows, Array]:
        """Check the estimator's parameters, the rows and the targets. Return the rows and targets.

        Rows and targets are checked by functions of scikit-learn. The rows are returned as a dense array or as a CSR
        matrix. Most of these checks are skipped for plain arrays, because they take longer than a small mini-batch.
        """
        check_parameters({name: getattr(self, name) for name in _parameter_names(type(self))})
        if _is_plain_matrix(x) and _is_plain_vector(y, len(x)) and _has_finite_sum(x):
            validate_data(self, x, y, reset=self._starts_fresh(partial=partial), skip_check_array=True)
            return x, y
        options |= {"accept_sparse": "csr", "dtype": _FLOATS, "order": "C", "multi_output": True}
        checked: tuple[Rows, Array] = validate_data(
            self, _as_numpy("X", x), _as_numpy("y", y), reset=self._starts_fresh(partial=partial), **options
        )
        return checked

    def _fit(self, dataset: Dataset, out_activation: str, *, partial: bool) -> None:
        """Train on checked examples. If `partial` is True, train for one epoch only."""
        if partial and self.early_stopping:
            raise InputError("early_stopping must be False for partial_fit, which trains for one epoch, got True")
        fresh, rng = self._starts_fresh(partial=partial), check_random_state(self.random_state)
        if not fresh and out_activation != self.out_activation_:
            raise InputError(
                f"y must be targets for {self.out_activation_} outputs, as in the first fit, "
                f"got targets for {out_activation} outputs"
            )
        layers, names = hidden_layers(self.hidden_layer_sizes, self.activation)
        sizes = [dataset.x.shape[1], *layers, dataset.y.shape[1]]
        plan = self._plan(sizes, names, out_activation, dataset.x.dtype)
        coefs, intercepts = _initial_parameters(sizes, names, rng) if fresh else (self.coefs_, self.intercepts_)
        p = parameters_of(coefs, intercepts, plan, copied=True)
        if fresh:
            self.t_, self.n_layers_, self.n_outputs_, self.out_activation_ = 0, len(sizes), sizes[-1], out_activation
        if fresh or (self.validation_scores_ is not None) != bool(self.early_stopping):
            self._reset_history()
        loop = TrainingLoop(self, plan, p, dataset, rng, partial=partial)
        self.coefs_, self.intercepts_ = loop.run(1 if partial else self.max_iter)

    def _reset_history(self) -> None:
        """Forget the losses and scores of earlier epochs."""
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_loss_ = None if self.early_stopping else math.inf
        self.best_validation_score_ = -math.inf if self.early_stopping else None
        self._waited = 0  # number of consecutive epochs without improvement

    def _plan(self, sizes: Sequence[int], names: Sequence[str], out_activation: str, dtype: npt.DTypeLike) -> Plan:
        activations, cost = self._formulas(names, out_activation)
        return plan_of(sizes, activations, cost, bias=True, dtype=dtype, backend=backends.get(self.backend))

    def _formulas(self, names: Sequence[str], out_activation: str) -> tuple[tuple[str, ...], str]:
        """Return fastbp's names of the activations and of the cost."""
        activations = tuple([ACTIVATIONS.get(name, name) for name in (*names, out_activation)])
        return activations, self._cost(out_activation)

    def _outputs(self, x: Any) -> Array:
        """Check the rows of `x`, and return the network's outputs aᴸ for them. Their shape is (n, n_L).

        The outputs are computed from the present `coefs_` and `intercepts_`.
        """
        check_is_fitted(self, "coefs_")
        if _is_plain_matrix(x):
            validate_data(self, x, reset=False, skip_check_array=True)
            with suppress(InputError):  # not finite; the full checks find out where
                return self._outputs_of_rows(x)
        return self._outputs_of_rows(
            validate_data(self, _as_numpy("X", x), accept_sparse="csr", dtype=_FLOATS, reset=False)
        )

    def _outputs_of_rows(self, rows: Rows) -> Array:
        layers = len(self.coefs_) - 1
        names = [self.activation] * layers if isinstance(self.activation, str) else self.activation
        if isinstance(rows, np.ndarray) and (found := self._small_outputs(rows, names)) is not None:
            return found
        sizes = [self.n_features_in_, *(np.shape(w)[1] for w in self.coefs_)]
        plan = self._plan(sizes, names, self.out_activation_, self.coefs_[0].dtype)
        return outputs(plan, parameters_of(self.coefs_, self.intercepts_, plan, copied=False), rows)

    def _small_outputs(self, rows: Rows, names: Sequence[str]) -> Array | None:
        """Return the outputs for a few dense rows, or None if they have to be computed in the general way."""
        weights, biases = [np.asarray(w).T for w in self.coefs_], [np.reshape(b, (-1, 1)) for b in self.intercepts_]
        activations, cost = self._formulas(names, self.out_activation_)
        batches = small_batches_of(weights, biases, activations, cost, backends.get(self.backend))
        batch = None if batches is None else batches.with_inputs(rows.T)
        if batches is None or batch is None:
            return None
        found = batch.outputs(weights, biases)
        batches.put_back(batch)
        return found


def _is_plain_matrix(x: Any) -> bool:
    """Return whether scikit-learn's checks would return the array x unchanged, if its numbers are finite."""
    return (
        type(x) is np.ndarray
        and x.ndim == 2
        and x.size > 0
        and x.dtype in _FLOATS
        and x.flags.c_contiguous
        and x.dtype.isnative
        and x.flags.aligned
    )


def _is_plain_vector(y: Any, n: int) -> bool:
    """Return whether scikit-learn's checks would return y, which has to have n targets, unchanged."""
    if type(y) is not np.ndarray or y.shape != (n,):
        return False
    return y.dtype.kind in "iub" or (y.dtype.kind == "f" and _has_finite_sum(y))


def _has_finite_sum(array: Array) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))


@cache
def _parameter_names(kind: type[BaseMLP]) -> list[str]:
    """Return the names of an estimator's parameters. scikit-learn would find them anew in each call."""
    names: list[str] = kind._get_param_names()
    return names


def check_sample_weight(sample_weight: Any, x: Rows) -> Array | None:
    """Return the checked weights of the examples, with shape (n,), or None if `sample_weight` is None.

    Raises `InputError` if the shape is wrong, if a weight is negative, or if all weights are zero.
    """
    if sample_weight is None:
        return None
    w = check_array(
        _as_numpy("sample_weight", sample_weight), ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if w.shape != (x.shape[0],):
        raise InputError(f"sample_weight must have shape ({x.shape[0]},), one weight per example, got shape {w.shape}")
    if (w < 0).any():
        raise InputError(f"sample_weight must not be negative, got {w.min():g} (example {w.argmin()})")
    if not w.any():
        raise InputError("sample_weight must be positive for at least one example, got only zeros")
    return np.asarray(w)


def _as_numpy(name: str, values: Any) -> Any:
    """Convert an array of another library to a NumPy array, without a copy.

    A masked array is refused. Text and any other value are returned unchanged, because scikit-learn checks them.
    """
    if isinstance(values, np.ma.MaskedArray):
        return as_numpy(name, values)
    foreign = hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray)
    if foreign and (text := text_labels(values)) is not None:
        return text
    return as_numpy(name, values) if foreign else values


def _initial_parameters(
    sizes: Sequence[int], names: Sequence[str], rng: np.random.RandomState
) -> tuple[list[Array], list[Array]]:
    """Return random coefs and intercepts, drawn from the uniform distribution U(−r, r).

    r² is 2/(n_in + n_out) for layers with the activation "logistic", and 6/(n_in + n_out) for the other activations
    (Glorot and Bengio 2010). For the output layer, r follows from the activation of the last hidden layer, as in
    scikit-learn.
    """
    coefs, intercepts = [], []
    for n_in, n_out, name in zip(sizes[:-1], sizes[1:], [*names, names[-1] if names else "identity"], strict=True):
        r = math.sqrt((2.0 if name == "logistic" else 6.0) / (n_in + n_out))
        coefs.append(rng.uniform(-r, r, (n_in, n_out)))
        intercepts.append(rng.uniform(-r, r, n_out))
    return coefs, intercepts
