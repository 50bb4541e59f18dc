"""`MLPClassifier`, for two classes, several classes, or several labels per example."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target

from fastbp.backends import BackendLike
from fastbp.errors import InputError
from fastbp.estimators.base import BaseMLP
from fastbp.estimators.from_scikit_learn import (
    check_partial_fit_first_call,
    for_mini_batches,
    validate_unless_fitted,
    validating,
)
from fastbp.estimators.labels import check_known, class_numbers, indicators
from fastbp.estimators.parameter_checks import CLASS_WEIGHT, HiddenActivation, LearningRate, Solver

Array = npt.NDArray[Any]


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A neural network for classification: scikit-learn's `MLPClassifier`, trained by fastbp.

    Each step of training lowers the cost of a mini-batch of m examples, C = (1/m) Σ C_x + (α/2m) Σ ‖W‖². With three or
    more classes, the output layer is softmax and the cost is the log-likelihood C_x = −ln a_y. With two classes, there
    is one sigmoid output, the probability of the second class, and the cost is the cross-entropy. For multilabel
    classification, y has several columns of 0 and 1, and a row may contain any number of 1s. Each column then has its
    own sigmoid output, and the cost is again the cross-entropy.

    Parameters
    ----------
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
    class_weight : dict, "balanced" or None, default=None
        Weight of each class. The weight of every example is multiplied by the weight of its class. "balanced" makes all
        classes count equally. The weight of a class is then n/(number of classes · number of examples of the class),
        where n is the number of all examples.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
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
        Accuracy of the held-out examples after each epoch, or None without `early_stopping`.
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
        Activation function of the output layer: "softmax" or "logistic".
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, if it has names.

    See Also
    --------
    MLPRegressor : The same network for real-valued targets.
    fastbp.convert.from_sklearn : Turn a fitted estimator into a `fastbp.Network`.

    Notes
    -----
    Training runs in float32 if X has dtype float32, and in float64 otherwise. A sparse X is converted to the CSR
    format. The backend "numpy" then computes with its entries only. For other backends, X is made dense, one mini-batch
    at a time.

    Differences from scikit-learn:

    * The parameters `backend`, `dropout` and `class_weight` are new. `activation` and `solver` accept more values.
    * If all targets are of one class, `predict_proba` has one column, like `classes_`. scikit-learn's has two.
    * A mini-batch whose weights are all 0 leaves the gradient at 0. scikit-learn raises a ZeroDivisionError.
    * A masked array with masked values is refused. scikit-learn uses the values behind the mask.
    * If y has negative numbers in several columns, there is a warning, because every number other than 0 is a label.
    * `partial_fit` finds the number of labels itself if y has several columns. `classes` is then optional.
    * `hidden_layer_sizes` must not change when training continues. scikit-learn ignores such a change, or fails.
    * Training that diverges ends at once, unless `early_stopping` is True: no later epoch can make an infinite
      parameter finite. NumPy's warnings of overflow are not issued.
    * A subclass must not replace private methods of scikit-learn's estimator, because they would not be called.

    Apart from these differences, results agree up to rounding errors with those of the same version of scikit-learn,
    from 1.7 on. The same `random_state` gives the same initial parameters, held-out examples and mini-batches. With
    scikit-learn 1.6, sample weights and the loss "poisson" are those of scikit-learn 1.7.

    References
    ----------
    Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks" (initial
    parameters). Kingma and Ba 2015, "Adam: a method for stochastic optimization".

    Examples
    --------
    >>> import fastbp
    >>> (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
    >>> net = MLPClassifier((30,), tol=0.01, random_state=0).fit(x.T, labels)  # rows are examples here
    >>> net.score(x_test.T, labels_test) > 0.9
    True
    """

    classes_: Array
    loss = "log_loss"  # not a parameter, as in scikit-learn
    _parameter_constraints = BaseMLP._parameter_constraints | {"class_weight": CLASS_WEIGHT}
    _label_binarizer: LabelBinarizer

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
        backend: BackendLike | None = None,
        dropout: float | Sequence[float] = 0.0,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
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
        self.class_weight = class_weight

    @validating
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPClassifier":
        """Train on X and y, starting from new random parameters or, with `warm_start`, from the present ones.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.
        y : array-like of shape (n,) or (n, n_outputs)
            The class of each example, or columns of 0 and 1.
        sample_weight : array-like of shape (n,), optional
            Weight of each example, or one number for all of them. A weight of 2 has the same effect as having the
            example twice in the mini-batch.

        Returns
        -------
        MLPClassifier
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
        >>> MLPClassifier((3,), tol=0.1, random_state=0).fit([[0.0], [1.0]], ["no", "yes"]).classes_.tolist()
        ['no', 'yes']
        """
        self._train(X, y, sample_weight, partial=False)
        return self

    @for_mini_batches
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        """Train for one epoch on X and y, continuing from the present parameters and optimizer state.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.
        y : array-like of shape (n,) or (n, n_outputs)
            The class of each example, or columns of 0 and 1.
        sample_weight : array-like of shape (n,), optional
            Weight of each example, or one number for all of them.
        classes : array-like of shape (n_classes,), optional
            All classes that y may contain in this and later calls. Required in the first call, unless y has columns of
            0 and 1.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, `early_stopping` is True, or `class_weight` is "balanced".
        fastbp.DivergedError
            If a parameter of the network is not finite after training. It is a subclass of ValueError too.

        Examples
        --------
        >>> net = MLPClassifier((3,), random_state=0).partial_fit([[0.0], [1.0]], [0, 1], classes=[0, 1, 2])
        >>> net.predict_proba([[0.5]]).shape
        (1, 3)
        """
        if isinstance(self.class_weight, str):
            raise InputError(
                "class_weight must be a dict or None for partial_fit, got 'balanced', which needs all examples at once"
            )
        validate_unless_fitted(self)
        self._note_classes(y, classes)
        self._train(X, y, sample_weight, partial=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
            The classes. If y had columns of 0 and 1 in `fit`, the result has such columns too. They contain 1 where the
            probability is above 0.5.

        Examples
        --------
        >>> net = MLPClassifier((3,), "tanh", learning_rate_init=0.3, random_state=0).fit([[0.0], [1.0]], [3, 7])
        >>> net.predict([[-1.0], [2.0]]).tolist()
        [3, 7]
        """
        a = self._outputs(X)
        if self._multilabel:
            return self._label_binarizer.inverse_transform(a)  # type: ignore[no-any-return]
        # If there is only one class, an index of 1 means this class too.
        return np.asarray(self.classes_[np.minimum(self._class_indices(a)[:, 0], len(self.classes_) - 1)])

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class for each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.

        Returns
        -------
        ndarray of shape (n, n_classes)
            The probabilities, with one column per class in the order of `classes_`. The dtype is that of training.

        Examples
        --------
        >>> net = MLPClassifier((3,), tol=0.1, random_state=0).fit([[0.0], [1.0]], [3, 7])
        >>> net.predict_proba([[-1.0], [2.0]]).shape
        (2, 2)
        """
        a = self._outputs(X)
        if a.shape[1] > 1 or self._multilabel:
            return a
        return np.hstack([1.0 - a, a])[:, : len(self.classes_)]

    def predict_log_proba(self, X: Any) -> Array:
        """Return the natural logarithm of the probability of each class for each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.

        Returns
        -------
        ndarray of shape (n, n_classes)
            ln of `predict_proba(X)`. For a probability of 0 it is −∞.

        Examples
        --------
        >>> net = MLPClassifier((3,), tol=0.1, random_state=0).fit([[0.0], [1.0]], [3, 7])
        >>> bool((net.predict_log_proba([[0.5]]) < 0.0).all())
        True
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @property
    def _multilabel(self) -> bool:
        return bool(self.out_activation_ == "logistic" and self.n_outputs_ > 1)

    def _note_classes(self, y: Any, classes: Any) -> None:
        """Set `classes_` in the first call of `partial_fit`; raise ValueError if they change in a later call."""
        multilabel = not hasattr(self, "classes_") and type_of_target(y, input_name="y").startswith("multilabel")
        if multilabel and classes is None:
            classes = np.arange(np.shape(y)[1])
        if check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)

    def _targets(self, y: Any, *, partial: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        known = hasattr(self, "classes_") and (partial or self.warm_start)
        if not known:
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        numbers = class_numbers(self._label_binarizer, y)
        if known:
            check_known(y, numbers, self.classes_, warm_start=self.warm_start)
        return indicators(self._label_binarizer, y, numbers)

    def _fresh_out_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _class_indices(self, a: Array) -> Array:
        """Return the indices of the predicted or true classes.

        Each row of `a` contains the outputs or the targets of one example. For softmax outputs, the result has shape
        (n, 1) and contains the index of the largest output in each row. For logistic outputs, the result has the shape
        of `a`, with 1 where the output is above 0.5, and 0 elsewhere.
        """
        return a.argmax(axis=1)[:, None] if self.out_activation_ == "softmax" else np.asarray(a > 0.5, np.int64)

    def _stratify_labels(self, y: Array) -> Array | None:
        return y.astype(bool) if y.shape[1] == 1 else None

    def _validation_score(self, y: Array, a: Array, w: Array | None) -> float:
        return float(np.average((self._class_indices(a) == self._class_indices(y)).all(axis=1), weights=w))
