"""`MLPRegressor`, for one or several real-valued targets, or counts."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d

from fastbp.backends import BackendLike
from fastbp.estimators.base import BaseMLP
from fastbp.estimators.from_scikit_learn import for_mini_batches, validate_unless_fitted, validating
from fastbp.estimators.parameter_checks import LOSS, HiddenActivation, LearningRate, Solver

Array = npt.NDArray[Any]


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A neural network for regression: scikit-learn's `MLPRegressor`, trained by fastbp.

    Each step of training lowers the cost of a mini-batch of m examples, C = (1/m) Σ C_x + (α/2m) Σ ‖W‖². For the loss
    "squared_error", C_x is the quadratic cost ½ ‖y − a‖², and the output layer has the activation identity. For
    "poisson", C_x is half of the deviance, Σ y ln(y/a) − y + a, and the output layer has the exponential as activation.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        The loss. "poisson" is for counts: y must not be negative.
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Number of neurons in each hidden layer. The input and output layers are not listed; `()` gives a network without
        hidden layers.
    activation : {"identity", "logistic", "tanh", "relu", ...}, Activation, or a list of these, default="relu"
        One activation function for all hidden layers, or a list with one for each of them. "logistic" is called
        "sigmoid" elsewhere in fastbp. The other names are "elu", "gelu", "gelu-tanh", "leaky-relu", "silu" and
        "softplus". Your own activation is a `fastbp.activations.Activation`.
    solver : {"lbfgs", "sgd", "adam"} or Optimizer, default="adam"
        Optimizer. "lbfgs" is L-BFGS on all examples, by `scipy.optimize`. "sgd" is stochastic gradient descent, with
        momentum if `momentum` > 0. "adam" is Adam. Any other optimizer is an object of `fastbp.optimizers`, such as
        `AdamW()` or your own `Optimizer`.
    alpha : float, default=0.0001
        Strength α of the L2 regularization in the formula above. Biases are not regularized.
    batch_size : int or "auto", default="auto"
        Number m of examples in a mini-batch. "auto" is the smaller of 200 and the number of training examples.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Learning-rate schedule of "sgd" and of optimizer objects. "constant" keeps η = `learning_rate_init`.
        "invscaling" sets η = `learning_rate_init` / (`t_` + 1)^`power_t` after each epoch. "adaptive" divides η by 5
        whenever training would otherwise stop for lack of improvement. Training then stops only if η is already 1e-6 or
        less.
    learning_rate_init : float, default=0.001
        Initial learning rate η.
    power_t : float, default=0.5
        Exponent in the formula of "invscaling".
    max_iter : int, default=200
        Largest number of epochs in one call of `fit`, or of iterations of "lbfgs".
    shuffle : bool, default=True
        Whether to put the training examples in a new random order in each epoch.
    random_state : int, numpy.random.RandomState or None, default=None
        Source of the random numbers for the initial parameters, the held-out examples and the order of the examples.
        With an int, repeated calls give the same result.
    tol : float, default=1e-4
        Smallest decrease of the training loss that counts as an improvement. With `early_stopping`, the smallest
        increase of the validation score that counts. "lbfgs" ends when no entry of the gradient is larger.
    verbose : bool or int, default=False
        Whether to print the loss of each epoch. With `early_stopping`, the validation score is printed too.
    warm_start : bool, default=False
        Whether `fit` starts from the present parameters instead of new random ones.
    momentum : float, default=0.9
        Momentum μ of "sgd", 0 ≤ μ ≤ 1.
    nesterovs_momentum : bool, default=True
        Whether "sgd" uses Nesterov's form of momentum.
    early_stopping : bool, default=False
        Whether to hold out part of the examples and to stop when the score on these examples no longer improves. The
        estimator then keeps the parameters of the best epoch.
    validation_fraction : float, default=0.1
        Fraction of the examples to hold out for `early_stopping`, at least 0 and below 1.
    beta_1 : float, default=0.9
        Decay rate β₁ of Adam's first moment, 0 ≤ β₁ < 1.
    beta_2 : float, default=0.999
        Decay rate β₂ of Adam's second moment, 0 ≤ β₂ < 1.
    epsilon : float, default=1e-8
        Constant ε in the denominator of Adam's step.
    n_iter_no_change : int or math.inf, default=10
        Training stops when more than this number of consecutive epochs have brought no improvement of at least `tol`.
    max_fun : int, default=15000
        Largest number of evaluations of the loss by "lbfgs". An iteration takes one or more.
    backend : str, array module or None, default=None
        Backend to compute on: a name from `fastbp.backends.available()`, "auto", or the module of an array library.
        None means the current backend.
    dropout : float or list of float, default=0.0
        Rate of dropout: the fraction of the activations of the hidden layers that is set to 0 in each step of training.
        A list has the rate of the inputs and of each hidden layer. The losses are those with dropout. Not for "lbfgs".

    Attributes
    ----------
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weight matrix of each layer. Predictions use the present `coefs_` and `intercepts_`, so you can assign other
        arrays to both.
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer.
    loss_ : float
        Training loss of the last epoch, including the L2 term.
    loss_curve_ : list of float
        Training loss of each epoch.
    best_loss_ : float or None
        Smallest training loss, or None with `early_stopping`.
    validation_scores_ : list of float or None
        R² score of the held-out examples after each epoch, or None without `early_stopping`.
    best_validation_score_ : float or None
        Largest validation score, or None without `early_stopping`.
    n_iter_ : int
        Number of epochs in the last call of `fit` or `partial_fit`.
    t_ : int
        Number of examples used for training so far. Each example is counted once per epoch.
    n_layers_ : int
        Number of layers, including the input and output layers.
    n_outputs_ : int
        Number of outputs.
    out_activation_ : str
        Activation function of the output layer: "identity", or "exp" for the loss "poisson".
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, if it has names.

    See Also
    --------
    MLPClassifier : The same network for classes. Its notes list the differences from scikit-learn.
    fastbp.convert.from_sklearn : Turn a fitted estimator into a `fastbp.Network`.

    Notes
    -----
    With several outputs, C_x is a sum over the outputs. For "squared_error", the attribute `loss_` is a mean over the
    outputs, as in scikit-learn. The steps of training use the gradient of ½ ‖y − a‖², not the gradient of `loss_`.

    The differences from scikit-learn are listed in the notes of `MLPClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-1.0, 1.0, 100)[:, None]
    >>> net = MLPRegressor(hidden_layer_sizes=(20,), batch_size=10, learning_rate_init=0.01, random_state=0)
    >>> net.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.95
    True
    """

    _parameter_constraints = BaseMLP._parameter_constraints | {"loss": LOSS}

    def __init__(
        self,
        loss: Literal["squared_error", "poisson"] = "squared_error",
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
        backend: BackendLike | None = None,
        dropout: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            backend=backend,
            dropout=dropout,
        )
        self.loss = loss

    @validating
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Train on X and y, starting from new random parameters or, with `warm_start`, from the present ones.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.
        y : array-like of shape (n,) or (n, n_outputs)
            The targets.
        sample_weight : array-like of shape (n,), optional
            Weight of each example, or one number for all of them. A weight of 2 has the same effect as having the
            example twice in the mini-batch.

        Returns
        -------
        MLPRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the input is invalid. `fastbp.InputError` is a subclass of ValueError.
        fastbp.DivergedError
            If a parameter of the network is not finite after training. It is a subclass of ValueError too.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If training reached `max_iter` epochs without converging.
        UserWarning
            If Ctrl-C ended training, or if `batch_size` is larger than the number of training examples.

        Examples
        --------
        >>> net = MLPRegressor(hidden_layer_sizes=(3,), tol=0.1, random_state=0)
        >>> net.fit([[0.0], [1.0]], [[0.0, 1.0], [1.0, 0.0]]).n_outputs_
        2
        """
        self._train(X, y, sample_weight, partial=False, y_numeric=True)
        return self

    @for_mini_batches
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Train for one epoch on X and y, continuing from the present parameters and optimizer state.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.
        y : array-like of shape (n,) or (n, n_outputs)
            The targets.
        sample_weight : array-like of shape (n,), optional
            Weight of each example, or one number for all of them.

        Returns
        -------
        MLPRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, or if `early_stopping` is True.
        fastbp.DivergedError
            If a parameter of the network is not finite after training. It is a subclass of ValueError too.

        Examples
        --------
        >>> MLPRegressor(hidden_layer_sizes=(3,), random_state=0).partial_fit([[0.0], [1.0]], [0.0, 1.0]).t_
        2
        """
        validate_unless_fitted(self)
        self._train(X, y, sample_weight, partial=True, y_numeric=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the predicted targets of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
            The outputs of the network, in the dtype of training. If there is one output, the shape is (n,).

        Examples
        --------
        >>> net = MLPRegressor(hidden_layer_sizes=(3,), random_state=0).partial_fit([[0.0], [1.0]], [0.0, 1.0])
        >>> net.predict([[0.5]]).shape
        (1,)
        """
        a = self._outputs(X)
        return a[:, 0] if a.shape[1] == 1 else a

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _targets(self, y: Any, *, partial: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return np.reshape(y, (len(y), -1))

    def _fresh_out_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    @property
    def _loss_divisor(self) -> int:
        return 1 if self.out_activation_ == "exp" else int(self.n_outputs_)

    def _stratify_labels(self, y: Array) -> Array | None:
        return None

    def _validation_score(self, y: Array, a: Array, w: Array | None) -> float:
        return float(r2_score(y, a, sample_weight=w)) if np.isfinite(a).all() else math.nan
