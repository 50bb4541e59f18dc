"""What the classifier and the regressor have in common: made by scikit-learn's names, checked, fitted, fed forward."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp import backends
from fastbp.datasets.foreign_arrays import as_numpy
from fastbp.errors import InputError
from fastbp.estimators.epochs import Examples, Rows, outputs, parameters_of
from fastbp.estimators.fitting import Loop
from fastbp.estimators.hyperparameters import ACTIVATIONS, check_parameters, hidden_layers
from fastbp.operations import Plan
from fastbp.parameters import plan_of

Array = npt.NDArray[Any]
_FLOATS = (np.float64, np.float32)  # float32 stays, everything else becomes float64


class Perceptron(BaseEstimator, ABC):  # type: ignore[misc]
    """A fully connected network with scikit-learn's habits; what it is for, its subclasses say."""

    coefs_: list[Array]
    intercepts_: list[Array]
    out_activation_: str

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        backend: Any = None,
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
        """Return fastbp's name of the cost that goes with an output activation."""

    @abstractmethod
    def _loss(self, cost: float) -> float:
        """Return what scikit-learn calls the loss, L2 aside, where C is the average of C_x."""

    @abstractmethod
    def _groups(self, y: Array) -> Array | None:
        """Return which group each example is of, for a split with a share of each; None where any split will do."""

    @abstractmethod
    def _score_of(self, y: Array, a: Array, w: Array | None) -> float:
        """Return how good outputs a are for targets y, both (n, n_L): what early stopping watches."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _is_new(self, *, partial: bool) -> bool:
        """Return whether training begins with parameters to be drawn, and not with those there are."""
        return not hasattr(self, "coefs_") or not (partial or self.warm_start)

    def _checked(self, x: Any, y: Any, *, partial: bool, **options: Any) -> tuple[Rows, Array]:
        """Return rows and targets that scikit-learn has checked, after a check of the estimator's own parameters."""
        check_parameters(self.get_params(deep=False))
        options |= {"accept_sparse": "csr", "dtype": _FLOATS, "order": "C", "multi_output": True}
        checked: tuple[Rows, Array] = validate_data(
            self, _readable("X", x), _readable("y", y), reset=self._is_new(partial=partial), **options
        )
        return checked

    def _fit(self, examples: Examples, out_activation: str, *, partial: bool) -> None:
        """Train on checked examples; if `partial`, for one epoch, which goes on from where the last one ended."""
        if partial and self.early_stopping:
            raise InputError("early_stopping is True; wanted is False with partial_fit, which is one epoch")
        new, rng = self._is_new(partial=partial), check_random_state(self.random_state)
        if not new and out_activation != self.out_activation_:
            raise InputError(f"y wants {out_activation} outputs, and the network has {self.out_activation_}")
        layers, names = hidden_layers(self.hidden_layer_sizes, self.activation)
        sizes = [examples.x.shape[1], *layers, examples.y.shape[1]]
        plan = self._plan(sizes, names, out_activation, examples.x.dtype)
        coefs, intercepts = _drawn(sizes, names, rng) if new else (self.coefs_, self.intercepts_)
        p = parameters_of(coefs, intercepts, plan, copied=True)
        if new:
            self.t_, self.n_layers_, self.n_outputs_, self.out_activation_ = 0, len(sizes), sizes[-1], out_activation
        if new or (self.validation_scores_ is not None) != bool(self.early_stopping):
            self._watch_anew()
        loop = Loop(self, plan, p, examples, rng, partial=partial)
        self.coefs_, self.intercepts_ = loop.run(1 if partial else self.max_iter)

    def _watch_anew(self) -> None:
        """Forget the figures of earlier epochs."""
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_loss_ = None if self.early_stopping else math.inf
        self.best_validation_score_ = -math.inf if self.early_stopping else None
        self._waited = 0

    def _plan(self, sizes: Sequence[int], names: Sequence[str], out_activation: str, dtype: npt.DTypeLike) -> Plan:
        activations = [ACTIVATIONS.get(name, name) for name in (*names, out_activation)]
        backend = backends.get(self.backend)
        return plan_of(sizes, activations, self._cost(out_activation), bias=True, dtype=dtype, backend=backend)

    def _outputs(self, x: Any) -> Array:
        """Return aᴸ, shape (n, n_L), for rows that are checked here, by `coefs_` and `intercepts_` as they now are."""
        check_is_fitted(self, "coefs_")
        rows = validate_data(self, _readable("X", x), accept_sparse="csr", dtype=_FLOATS, reset=False)
        sizes = [self.n_features_in_, *(np.shape(w)[1] for w in self.coefs_)]
        names = [self.activation] * (len(sizes) - 2) if isinstance(self.activation, str) else self.activation
        plan = self._plan(sizes, names, self.out_activation_, self.coefs_[0].dtype)
        return outputs(plan, parameters_of(self.coefs_, self.intercepts_, plan, copied=False), rows)


def checked_weights(sample_weight: Any, x: Rows) -> Array | None:
    """Return the weights of examples, (n,), or None for none; raises `InputError` for negative ones, or all zero."""
    if sample_weight is None:
        return None
    w = check_array(
        _readable("sample_weight", sample_weight), ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if w.shape != (x.shape[0],):
        raise InputError(f"sample_weight has shape {w.shape}; wanted is one weight an example: ({x.shape[0]},)")
    if (w < 0).any() or not w.any():
        raise InputError("sample_weight is negative somewhere, or zero everywhere; wanted are weights of 0 or more")
    return np.asarray(w)


def _readable(name: str, values: Any) -> Any:
    """Return another library's array as NumPy's, the same memory; all else as it is, for scikit-learn to check."""
    foreign = hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray)
    return as_numpy(name, values) if foreign or isinstance(values, np.ma.MaskedArray) else values


def _drawn(sizes: Sequence[int], names: Sequence[str], rng: np.random.RandomState) -> tuple[list[Array], list[Array]]:
    """Return coefs and intercepts of U(−r, r) for r² = 6/(n_in + n_out), or 2/… with logistic: Glorot, Bengio 2010."""
    coefs, intercepts = [], []
    for n_in, n_out, name in zip(sizes[:-1], sizes[1:], [*names, names[-1] if names else "identity"], strict=True):
        r = math.sqrt((2.0 if name == "logistic" else 6.0) / (n_in + n_out))
        coefs.append(rng.uniform(-r, r, (n_in, n_out)))
        intercepts.append(rng.uniform(-r, r, n_out))
    return coefs, intercepts
